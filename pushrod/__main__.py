"""`python -m pushrod`, and what the `pushrod` command calls."""

# Before the imports, which take a tenth of a second: Ctrl-C among them ends the command, and
# nobody is shown where it was.
import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from pushrod.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
