"""A worker of a pipeline whose client runs its own in a thread.

The interpreter is the client's, or one that a user chose, and what the client
can import is to be found here as well.
"""

import gc
import logging
import os
import sys

# A fifth of the time that it takes to import Beam goes into looking for garbage
# among what stays.
gc.disable()

_, directory, path, python, beam = sys.argv[:5]
here = '%d.%d' % sys.version_info[:2]
if here != python:
  sys.exit('%s is Python %s, but the pipeline was made with Python %s: '
           'set gorunner_worker_python' % (sys.executable, here, python))
if directory:
  os.chdir(directory)
# What -c has put first is the directory; a program's own comes before it.
sys.path[0] = path or directory or sys.path[0]

try:
  from apache_beam import version
except ImportError as e:
  sys.exit('%s cannot import apache_beam (%s): set gorunner_worker_python to '
           'an interpreter that has apache-beam %s' % (sys.executable, e, beam))
if version.__version__ != beam:
  sys.exit('%s has apache-beam %s, but the pipeline was made with %s: '
           'set gorunner_worker_python' % (sys.executable, version.__version__, beam))

# Records go to the runner; without a handler they would be printed as well.
logging.getLogger().addHandler(logging.NullHandler())

from apache_beam.runners.worker import sdk_worker_main

# What is here by now is not looked at again.
gc.freeze()
gc.enable()

sdk_worker_main.main(sys.argv)
