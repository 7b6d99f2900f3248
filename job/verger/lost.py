"""What was lost under a run, in one line: an executor, a Python worker, Spark itself."""

from __future__ import annotations

import re

_EXECUTOR = re.compile(
    r"executor (?P<id>\w+)\): ExecutorLostFailure .*?Reason:\s*(?P<why>[^\n]+?)\.?\n"
    r"(?P<rest>.*?termination reason: \w+)?",
    re.DOTALL,
)
# A worker that died before it told the JVM its pid is an end of file in what waits for that; one that died as it was
# written to is a broken pipe (PythonWorkerFactory and PythonRunner of Spark).
_WORKER = re.compile(
    r"Python worker exited unexpectedly"
    r"|java\.(?:io\.EOFException|io\.IOException: (?:Broken pipe|Connection reset)|net\.SocketException"
    r"|nio\.channels\.ClosedChannelException)[^\n]*\n(?:\tat (?!org\.apache\.spark)[^\n]+\n)*"
    r"\tat org\.apache\.spark\.(?:sql\.execution|api)\.python\."
)
_STOPPED = re.compile(
    r"stopped SparkContext|SparkContext was shut down|Spark context stopped|SparkContext has been shut"
)
_OUT_OF_MEMORY = ("OOMKilled", "exit code 137")


def explained(error: BaseException) -> str | None:
    """None for an error that is of something else."""
    message = f"{error}\n"
    if (executor := _EXECUTOR.search(message)) is not None:
        if any(sign in executor[0] for sign in _OUT_OF_MEMORY):
            return (
                f"executor {executor['id']}: out of memory, as the executors before it that had the same images; raise "
                "the executors' memoryOverhead (spark.executor.memoryOverhead)"
            )
        return (
            f"executor {executor['id']}: lost, as those before it that had the same images: {executor['why']}; see its "
            "log, or run again"
        )
    if _WORKER.search(message) is not None:
        return (
            "a Python worker died, killed perhaps for its memory; give the machine more, or on Kubernetes raise the "
            "executors' memoryOverhead (spark.executor.memoryOverhead)"
        )
    # Nothing else is spoken to by a socket of Python's own.
    if isinstance(error, ConnectionError) or type(error).__name__ == "Py4JNetworkError":
        return "Spark's JVM ended under the run, killed perhaps for its memory; give it more, and run again"
    if _STOPPED.search(message):
        return "Spark stopped under the run; see its log, and run again: what was committed is kept"
    return None
