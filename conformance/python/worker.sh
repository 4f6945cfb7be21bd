#!/bin/sh
# The smallest program that a PROCESS environment can start as a worker of the
# Python SDK: it tells the SDK where the runner is, and becomes its worker.
# PYTHON is the interpreter.
for arg; do
	case $arg in
	--id=*) WORKER_ID=${arg#*=} ;;
	--provision_endpoint=*) provision=${arg#*=} ;;
	--logging_endpoint=*) logging=${arg#*=} ;;
	--control_endpoint=*) control=${arg#*=} ;;
	esac
done
export WORKER_ID PIPELINE_OPTIONS='{}'
# A runner that names one endpoint serves everything on it.
export LOGGING_API_SERVICE_DESCRIPTOR="url: \"${logging:-$provision}\""
export CONTROL_API_SERVICE_DESCRIPTOR="url: \"${control:-$provision}\""
exec "${PYTHON:-python3}" -m apache_beam.runners.worker.sdk_worker_main
