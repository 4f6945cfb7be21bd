"""Runs the word count that comes with Beam, timed: prints {"seconds": ...}."""

import json
import sys
import time

from apache_beam.examples import wordcount

if __name__ == '__main__':
  # --words is what the text has; the Go pipelines check it.
  argv = [arg for arg in sys.argv[1:] if not arg.startswith('--words=')]
  start = time.monotonic()
  wordcount.run(argv)
  print(json.dumps({'seconds': time.monotonic() - start}))
