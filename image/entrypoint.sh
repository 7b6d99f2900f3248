#!/bin/bash
# Spark's two parts on Kubernetes, and any other command: `docker run IMAGE verger run ...`.
set -euo pipefail

# Hadoop wants a name for the user, whatever the uid; /etc/passwd may be read-only, so the name is in a file of ours.
if ! getent passwd "$(id -u)" >/dev/null; then
    NSS_WRAPPER_PASSWD=$(mktemp)
    echo "verger:x:$(id -u):$(id -g):any uid:/tmp:/usr/sbin/nologin" >"$NSS_WRAPPER_PASSWD"
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP=/etc/group LD_PRELOAD=libnss_wrapper.so
fi

case ${1:-} in
driver)
    shift
    # What a pod prints is its log, and is the run's: Spark's goes to a file.
    export SPARK_SUBMIT_OPTS=${SPARK_SUBMIT_OPTS--Dlog4j2.configurationFile=file:/opt/verger/log4j2.properties}
    "$SPARK_HOME/bin/spark-submit" \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@" &
    # The end of a pod is told to the JVM's child, the run: it closes what is open with a JVM that lives, which then ends.
    trap 'kill -TERM $(cat "/proc/$!/task/"*/children) 2>/dev/null || kill -TERM $!' TERM
    wait $! || wait $! # a trap ends the first
    ;;
executor)
    options=() # Spark numbers them from 0
    for ((i = 0; ; i++)); do
        name=SPARK_JAVA_OPT_$i
        [ -v "$name" ] || break
        options+=("${!name}")
    done
    classpath="${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$SPARK_HOME/conf:$SPARK_HOME/jars/*:${SPARK_DIST_CLASSPATH:-}"
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${options[@]}" \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "${classpath%:}" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
*)
    exec "$@"
    ;;
esac
