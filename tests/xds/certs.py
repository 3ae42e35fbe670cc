# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for tests, by the openssl command."""
import datetime
import pathlib
import subprocess

CONFIG = """
[ca]
default_ca = here
[here]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = anything
copy_extensions = none
unique_subject = no
[anything]
commonName = optional
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
subjectAltName = {names}
"""


def run(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **options).stdout


class Authority:
    def __init__(self, folder, name="test CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index.txt").touch()
        self.cert, self.key = self.folder / "root.pem", self.folder / "root.key"
        if self.cert.exists():
            return  # somebody made it before
        self.config("DNS:none")
        run("req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out", self.cert,
            "-subj", f"/CN={name}", "-days", "2", "-config", self.folder / "ca.cnf", "-extensions", "authority")

    def config(self, names):
        path = self.folder / "ca.cnf"
        path.write_text("[req]\ndistinguished_name = none\n[none]\n" + CONFIG.format(folder=self.folder, names=names))
        return path

    def sign(self, csr, out, names, days=(-1, 1)):
        """Signs a CSR for these names, valid from and until so many days from now."""
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = ((now + datetime.timedelta(days=d)).strftime("%Y%m%d%H%M%SZ") for d in days)
        run("ca", "-batch", "-notext", "-config", self.config(names), "-cert", self.cert, "-keyfile", self.key, "-in", csr, "-out", out,
            "-extensions", "leaf", "-startdate", start, "-enddate", end)
        return out

    def issue(self, name, names, days=(-1, 1)):
        """A key and a certificate: their paths."""
        key, csr, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr, "-subj", f"/CN={name}",
            "-config", self.config(names))
        return self.sign(csr, cert, names, days), key
