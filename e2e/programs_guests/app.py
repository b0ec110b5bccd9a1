"""A program for Kubernetes in Python: runs the script that its first argument names."""

import json  # what scripts may import has to be here when the component is made
import sys

from wit_world import exports

__all__ = ["json"]


class Run(exports.Run):
    def run(self) -> None:
        path = sys.argv[1]
        with open(path) as script:
            exec(compile(script.read(), path, "exec"), {"__name__": "__main__"})
