# Every target does the set-up it needs; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
LOCK ?= requirements-dev.lock
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-dev.lock)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-s3 e2e check format lock chart bench clean image image-check test-spark-4.0 test-spark-3.5 kind-up kind-down

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with verger in it, and get this machine ready: Java, jars, weights

$(READY): $(LOCK) pyproject.toml image/jars.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(LOCK)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/verger prepare
	@touch $@

demo: $(READY) ## Run the whole job on images that are drawn here
	$(BIN)/verger demo

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest -m "not image and not s3 and not kubernetes" --cov --cov-report=term:skip-covered

test-s3: $(READY) ## Run the tests of buckets, with versitygw on the PATH
	$(BIN)/python -m pytest -m s3

e2e: $(READY) ## Run IMAGE in the cluster of kubectl's context, with S3_IMAGE, of k8s/s3, beside it
	VERGER_TEST_IMAGE=$(IMAGE) VERGER_TEST_S3_IMAGE=$(S3_IMAGE) $(BIN)/python -m pytest -m kubernetes

# The Spark of EMR on EKS, in an environment of its own before the locked one: PySpark alone is another. Tests that start
# no JVM see nothing of Spark but its types' names, which the imports of those that do have tried as well.
# Between the two others, which run all tests that start one, 4.0 runs those of the job as a whole.
test-spark-4.0: FILES := tests/test_pipeline.py tests/test_reduction.py tests/test_session.py
test-spark-4.0 test-spark-3.5: test-spark-%: .venv-spark-%/.ready
	.venv-spark-$*/bin/python -m pytest -m "spark and not main and not image and not s3 and not kubernetes" $(FILES)

.venv-spark-%/.ready: $(READY) image/spark-%.lock
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-spark-$*
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-spark-$*/bin/python --require-hashes -r image/spark-$*.lock
	folder='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	    $(BIN)/python -c "$$folder" > $$(.venv-spark-$*/bin/python -c "$$folder")/locked.pth
	$(BIN)/uv pip install --quiet --python .venv-spark-$*/bin/python --no-deps --no-build-isolation -e .
	.venv-spark-$*/bin/verger prepare
	@touch $@

check: $(READY) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python helm/generate.py --check
	$(BIN)/shellcheck .ci/run image/entrypoint.sh image/strip image/emr-stand-in/build k8s/{s3,kind}/{up,down}

format: $(READY) ## Format the code, and mend what lint can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## Pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --group dev -c <(echo pyspark==$(SPARK)) $(LOCKING) -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements-dev.lock $(LOCKING) -o requirements.lock
	$(BIN)/uv pip compile image/build.in $(LOCKING) -o image/build.lock
	for spark in 4.0.2 3.5.8; do \
	    $(BIN)/uv pip compile - <<< pyspark==$$spark $(LOCKING) -o image/spark-$${spark%.*}.lock; \
	done

SPARK := 4.1.2
UPGRADE ?= --upgrade
LOCKING := $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

# The weights are downloaded while the image is built, unless VERGER_WEIGHTS (or a file in image/weights/) gives them.
IMAGE ?= verger
S3_IMAGE ?= verger-s3
TARGET ?= spark
BUILD_ARGS ?= # --build-arg BASE=docker.io/library/debian@sha256:...
WEIGHTS_FILE := mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5

image: ## Build the container image IMAGE=verger for TARGET=spark|emr
	$(if $(VERGER_WEIGHTS),install -m 644 $(VERGER_WEIGHTS) image/weights/$(WEIGHTS_FILE))
	DOCKER_BUILDKIT=1 docker build --target $(TARGET) $(BUILD_ARGS) --tag $(IMAGE) .

image-check: $(READY) ## Check IMAGE, which was built for TARGET, and run it
	VERGER_TEST_IMAGE=$(IMAGE) VERGER_TEST_TARGET=$(TARGET) $(BIN)/python -m pytest tests/test_image.py \
	    -m $(if $(filter emr,$(TARGET)),"image and not spark_image",image)

chart: $(READY) ## Write what is made of the chart's values: schema, README, the examples as helm renders them
	$(BIN)/python helm/generate.py
	for values in $(wildcard helm/examples/*.yaml); do \
	    helm template fruits helm/verger --namespace runs --values $$values \
	        --api-versions sparkoperator.k8s.io/v1beta2/SparkApplication \
	        --api-versions monitoring.coreos.com/v1/PodMonitor > helm/rendered/$${values##*/}; \
	done

kind-up: $(READY) ## Make a Kubernetes of kind's here, with IMAGE, a namespace for runs and an S3 server in it
	IMAGE=$(IMAGE) k8s/kind/up

kind-down: ## Delete it
	k8s/kind/down

bench: $(READY) ## Measure: the notebook, the limit, and Verger between them
	$(BIN)/python benchmarks/run.py

clean: ## Remove what the targets made here (not the machine's cache)
	rm -rf $(VENV) demo dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
