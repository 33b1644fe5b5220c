"""Starts `delm-mcp stdio` in the folder that the user chose, so that it finds that folder's board."""

import os
import sys

from delm_mcp.cli import main

if __name__ == "__main__":
    os.chdir(sys.argv.pop(1))
    sys.argv.append("stdio")
    main()
