"""The `millstream` command."""

import os
import sys

# `python -m` puts the current folder first on the import path: a stream file there would hide one of our packages.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from millstream.cli.main import main

if __name__ == "__main__":
    main()
