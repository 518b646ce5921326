"""`python -m pushrod`, the same as the `pushrod` command."""

from pushrod.cli import main

if __name__ == "__main__":
    main()
