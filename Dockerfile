# Verger's images: `spark` for any Kubernetes (and `docker run`), `emr` for EMR on EKS. docs/image.md says what is in them.
# Pin the bases by digest: --build-arg BASE=docker.io/library/debian@sha256:...
ARG BASE=docker.io/library/debian:trixie-slim
ARG EMR_BASE=public.ecr.aws/emr-on-eks/spark/emr-7.13.0:latest

# Debian's Python and Java, and nothing that runs as somebody else.
FROM $BASE AS system
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libnss-wrapper openjdk-21-jre-headless python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && groupadd --gid 185 spark \
    && useradd --uid 185 --gid 185 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin spark \
    && install -d -o spark -g spark /work

# uv, hatchling and what writes the SBOM: they make the image and are not in it.
FROM system AS tools
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
COPY image/build.lock /build/
RUN python3 -m venv /build/venv && /build/venv/bin/pip install --quiet --require-hashes -r /build/build.lock
ENV PATH=/build/venv/bin:$PATH UV_NO_CACHE=1

FROM tools AS wheel
COPY pyproject.toml README.md /build/verger/
COPY job /build/verger/job
COPY image/jars.lock /build/verger/image/
RUN cd /build/verger && hatchling build -t wheel -d /wheel

# The locked environment; PySpark is built from its source archive, by the setuptools of build.lock.
FROM tools AS environment
COPY requirements.lock image/strip /build/
RUN uv venv --quiet --python /usr/bin/python3 /opt/verger/venv \
    && uv pip install --python /opt/verger/venv/bin/python --compile-bytecode --require-hashes \
        --build-constraints /build/build.lock -r /build/requirements.lock \
    && sh /build/strip /opt/verger/venv/lib/python3.13/site-packages \
    && rm /opt/verger/venv/.lock

# What all stages that run Verger have: layers that change with the locks only.
FROM system AS spark-system
COPY --from=environment /opt/verger/venv /opt/verger/venv
# A module that only MLlib's arithmetic would use, and of which the JVM warns at the top of every log, is left out.
RUN ln -s verger/venv/lib/python3.13/site-packages/pyspark /opt/spark && mkdir /opt/spark/conf \
    && sed -i 's|^exec "${CMD\[@\]}"|exec "${CMD[@]/#--add-modules=jdk.incubator.vector/-Dspark.vector=off}"|' \
        /opt/spark/bin/spark-class \
    && grep -q vector=off /opt/spark/bin/spark-class
COPY --chmod=755 image/entrypoint.sh /opt/
COPY image/main.py image/log4j2.properties /opt/verger/
ENV PATH=/opt/verger/venv/bin:$PATH \
    SPARK_HOME=/opt/spark \
    SPARK_DIST_CLASSPATH=/opt/verger/cache/jars/* \
    PYSPARK_PYTHON=/opt/verger/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/verger/venv/bin/python \
    VERGER_CACHE=/opt/verger/cache \
    OPENVINO_TELEMETRY=0

# Jars, weights and the graphs made of them. Weights: image/weights/ of the build context, else Keras's address.
FROM spark-system AS cache
RUN --mount=type=bind,from=tools,source=/build/venv,target=/build/venv \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /build/venv/bin/uv pip install --quiet --no-cache --no-deps --python /opt/verger/venv/bin/python /wheel/*.whl \
    && rm -f /opt/verger/venv/.lock
RUN --mount=type=bind,source=image,target=/image \
    python /image/fetch.py /image/weights

FROM spark-system AS spark
COPY --from=cache /opt/verger/cache/jars /opt/verger/cache/jars
COPY --from=cache /opt/verger/cache/weights /opt/verger/cache/weights
COPY --from=cache /opt/verger/cache/graphs /opt/verger/cache/graphs
RUN --mount=type=bind,from=tools,source=/build/venv,target=/build/venv \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /build/venv/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode \
        --python /opt/verger/venv/bin/python /wheel/*.whl \
    && rm -f /opt/verger/venv/.lock
# A rehearsal, whose JVM leaves the class archive that later ones start from.
RUN verger prepare && rm -rf /tmp/* /opt/verger/cache/logs
RUN --mount=type=bind,from=tools,source=/build/venv,target=/build/venv \
    --mount=type=bind,source=image,target=/image \
    PYTHONPATH=/build/venv/lib/python3.13/site-packages PYTHONDONTWRITEBYTECODE=1 \
        /opt/verger/venv/bin/python /image/sbom.py > /opt/verger/sbom.cdx.json
ENV VERGER_SCRATCH=/tmp/verger
LABEL org.opencontainers.image.title=verger
USER 185
WORKDIR /work
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "/opt/entrypoint.sh"]
CMD ["verger", "--help"]

# EMR on EKS: EMR's Spark, jars, S3A, user and entrypoint stay; Verger comes beside them. EMR mounts over /tmp, /mnt,
# /home/hadoop and its folders in /var/log at run time: nothing of ours is there.
FROM $EMR_BASE AS emr-environment
USER root
COPY requirements.lock image/strip /build/
# EMR's own PySpark, by path: the locked one would bring the jars of another Spark.
RUN --mount=type=bind,from=tools,source=/build/venv/bin,target=/build/bin \
    awk '/^[^ ]/ { skip = /^(pyspark|py4j)==/ } !skip' /build/requirements.lock > /build/emr.lock \
    && /build/bin/uv venv --quiet --no-cache --no-python-downloads --python python3.11 /opt/verger/venv \
    && /build/bin/uv pip install --no-cache --python /opt/verger/venv/bin/python --compile-bytecode --require-hashes \
        --only-binary :all: -r /build/emr.lock \
    && sh /build/strip /opt/verger/venv/lib/python3.11/site-packages \
    && ls -d /usr/lib/spark/python /usr/lib/spark/python/lib/py4j-*.zip \
        > /opt/verger/venv/lib/python3.11/site-packages/emr.pth
RUN --mount=type=bind,from=tools,source=/build/venv/bin,target=/build/bin \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /build/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode \
        --python /opt/verger/venv/bin/python /wheel/*.whl \
    && rm -f /opt/verger/venv/.lock
ENV VERGER_CACHE=/opt/verger/cache
COPY --from=cache /opt/verger/cache/weights /opt/verger/cache/weights
COPY --from=cache /opt/verger/cache/graphs /opt/verger/cache/graphs
RUN --mount=type=bind,source=image,target=/image \
    /opt/verger/venv/bin/python /image/fetch.py /image/weights --emr \
    && chmod -R a+rX /opt/verger

FROM $EMR_BASE AS emr
USER root
COPY --from=emr-environment /opt/verger /opt/verger
COPY image/main.py /opt/verger/
# By its link: with our environment on the PATH, EMR's `python3` would be another. And EMR's Delta where Spark finds it,
# in driver and executors: on a class path of ours, EMR's own class paths would be gone.
RUN ln -s /opt/verger/venv/bin/verger /usr/local/bin/verger \
    && for jar in delta-spark.jar delta-storage.jar; do \
        test -r /usr/share/aws/delta/lib/$jar && ln -s /usr/share/aws/delta/lib/$jar "$SPARK_HOME/jars/" || exit 1; \
    done
ENV PYSPARK_PYTHON=/opt/verger/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/verger/venv/bin/python \
    VERGER_CACHE=/opt/verger/cache \
    VERGER_SCRATCH=/tmp/verger \
    VERGER_S3A=emr \
    OPENVINO_TELEMETRY=0
RUN --mount=type=bind,from=tools,source=/build/venv,target=/build/venv \
    --mount=type=bind,source=image,target=/image \
    PYTHONPATH=/build/venv/lib/python3.13/site-packages PYTHONDONTWRITEBYTECODE=1 \
        /opt/verger/venv/bin/python /image/sbom.py > /opt/verger/sbom.cdx.json
LABEL org.opencontainers.image.title=verger
USER hadoop:hadoop
