"""What spark-submit runs: `spark-submit local:///opt/verger/main.py run --images ...`."""

from verger.cli import main

if __name__ == "__main__":
    main()
