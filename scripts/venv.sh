#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A virtual environment with the packages of a requirements file. PIP_FIND_LINKS and the like are pip's own.
#   venv.sh FOLDER REQUIREMENTS
set -euo pipefail

folder=${1:?folder} requirements=${2:?requirements}
rm -rf "$folder.part"
"${PYTHON:-python3}" -m venv "$folder.part"
"$folder.part/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
rm -rf "$folder"
mv "$folder.part" "$folder"
