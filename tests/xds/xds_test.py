#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Streams from istiod: xds_test.py --build DIR [NAME...], run by `make xds-test`."""
import argparse
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from talk import Talk  # noqa: E402

MODULES = ["transport"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("names", nargs="*", help="module, module.Class or module.Class.test")
    options = parser.parse_args()
    Talk.program = pathlib.Path(options.build).resolve() / "tests/xds/talk"
    suite = unittest.defaultTestLoader.loadTestsFromNames(options.names or MODULES)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())


if __name__ == "__main__":
    main()
