"""Writes the Python SDK's pipeline protos that the translator is tested with.

    python generate.py [--out DIR] [name ...]

Each pipeline is run by the SDK's own PortableRunner with LOOPBACK workers, up to
the point where the proto would be sent to the job service: there it is written
to python_<name>.pb.
"""

import argparse
import os
import random
import sys
import uuid

os.environ.setdefault('PYTHONHASHSEED', '0')
if sys.flags.hash_randomization and os.environ['PYTHONHASHSEED'] == '0':
  os.execv(sys.executable, [sys.executable, *sys.argv])


def deterministic_uuid():
  """Replaces random ids, so that the files change only when a pipeline does."""
  return uuid.UUID(int=random.getrandbits(128), version=4)


random.seed('schemas')
uuid.uuid4 = deterministic_uuid  # before the SDK imports it by name

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import apache_beam as beam
from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.transforms import environments

import corpus

# The address that stands for the client's own worker pool.
WORKER_POOL = 'localhost:50000'


def relative_path(path):
  """Names a source file without the place where it is installed."""
  for prefix in (os.path.dirname(os.path.dirname(beam.__file__)), HERE):
    if path.startswith(prefix + os.sep):
      return os.path.relpath(path, prefix)
  return path


# The SDK's own hook for paths inside pickled functions. Both configurations are
# default arguments already, so they are changed in place.
for config in (cloudpickle_pickler.DEFAULT_CONFIG,
               cloudpickle_pickler.STABLE_CODE_IDENTIFIER_CONFIG):
  object.__setattr__(config, 'filepath_interceptor', relative_path)


class Submitted(Exception):
  """Carries the pipeline proto out of the runner."""


class CapturingHandle(portable_runner.JobServiceHandle):
  def __init__(self):  # pylint: disable=super-init-not-called
    pass

  def submit(self, proto_pipeline):
    raise Submitted(proto_pipeline)


class CapturingRunner(portable_runner.PortableRunner):
  """The portable runner, without a job service and without a worker pool."""
  def create_job_service(self, options):
    return CapturingHandle()

  def start_and_replace_loopback_environments(self, pipeline, options):
    external = environments.ExternalEnvironment(WORKER_POOL).to_runner_api(None)
    for environment in pipeline.components.environments.values():
      if environment.urn == python_urns.EMBEDDED_PYTHON_LOOPBACK:
        environment.urn = external.urn
        environment.payload = external.payload
    return []


def canonicalize(transforms):
  """Re-encodes nested payloads, whose maps and sets the SDK leaves in any order."""
  for transform in transforms:
    urn = transform.spec.urn
    if urn in translations.PAR_DO_URNS:
      payload = beam_runner_api_pb2.ParDoPayload.FromString(
          transform.spec.payload)
    elif urn == 'beam:runner:executable_stage:v1':
      payload = beam_runner_api_pb2.ExecutableStagePayload.FromString(
          transform.spec.payload)
      canonicalize(payload.components.transforms.values())
      # Sets in the SDK.
      payload.transforms[:] = sorted(payload.transforms)
      payload.side_inputs.sort(key=lambda s: (s.transform_id, s.local_name))
    else:
      continue
    transform.spec.payload = payload.SerializeToString(deterministic=True)


def capture(spec):
  random.seed(spec.name)
  flags = [
      '--environment_type=LOOPBACK',
      '--job_endpoint=localhost:1',
      '--job_name=' + spec.name.replace('_', '-'),
      '--experiments=beam_fn_api',
      '--experiments=pre_optimize=' + spec.pre_optimize,
      *spec.flags,
  ]
  if spec.streaming:
    flags.append('--streaming')
  pipeline = beam.Pipeline(
      runner=CapturingRunner(), options=PipelineOptions(flags))
  spec.build(pipeline)
  try:
    pipeline.run()
  except Submitted as submitted:
    proto = submitted.args[0]
    canonicalize(proto.components.transforms.values())
    return proto
  raise RuntimeError('%s was not submitted' % spec.name)


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('names', nargs='*')
  parser.add_argument(
      '--out', default=os.path.join(HERE, '..', '..', 'pipelines'))
  args = parser.parse_args()
  # Fixed, because the SDK puts it into the artifacts and the display data.
  sys.argv = ['generate.py']
  for spec in corpus.SPECS:
    if args.names and spec.name not in args.names:
      continue
    proto = capture(spec)
    path = os.path.join(args.out, 'python_%s.pb' % spec.name)
    with open(path, 'wb') as out:
      out.write(proto.SerializeToString(deterministic=True))


if __name__ == '__main__':
  main()
