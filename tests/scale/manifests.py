"""Checks what is in `packaging/` for balancers and Kubernetes with the real programs.

`cargo xtask manifests` runs it. HAProxy and nginx check their configurations and serve two nodes,
one of which is stopped under load; the manifests are compared with the schemas of Kubernetes.
"""

import argparse
import contextlib
import http.client
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from nodes import (
    BALANCER,
    CLIENT,
    NODES,
    PACKAGING,
    Node,
    Ports,
    balancer,
    exit_on_signals,
    need,
    status,
    step,
    wait_until,
    without_verification,
)

VALIDATOR = "kubernetes-validate==1.37.0"
PAGE = "<!doctype html><title>A page</title>It is here.\n"
LOAD_SECONDS = 6
CONNECTIONS = 16
# What `nginx/stream.conf` loads; Debian has it in a package of its own.
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# When a node is stopped, as a part of the load's time.
STOP_AFTER_SECONDS = 1.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wasgi", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    options = parser.parse_args()
    exit_on_signals()
    need("haproxy", "nginx", "wrk", "openssl")
    if not STREAM_MODULE.exists():
        sys.exit(f"missing: {STREAM_MODULE}; install with: apt-get install libnginx-mod-stream")
    shutil.rmtree(options.work / "balancers", ignore_errors=True)
    work = options.work / "balancers"
    (work / "site/html").mkdir(parents=True)
    (work / "site/html/index.html").write_text(PAGE)
    certificate(work)
    manifests(options)
    for kind in ("haproxy", "nginx"):
        for file in sorted((PACKAGING / kind).iterdir()):
            check_syntax(kind, file, work)
    for kind, file, scheme in (
        ("haproxy", "http.cfg", "http"),
        ("haproxy", "tcp.cfg", "https"),
        ("nginx", "http.conf", "http"),
        ("nginx", "stream.conf", "https"),
    ):
        serve(options.wasgi, kind, file, scheme, work)


def manifests(options):
    """Compares the manifests with the schemas, and with what they refer to."""
    validator = validation_program(options.work)
    folder = PACKAGING / "kubernetes"
    files = sorted(folder.glob("*.yaml"))
    assert files, "there are no manifests"
    done = validate(validator, files)
    if done.returncode != 0:
        sys.exit(f"the manifests don't match the schemas:\n{done.stdout}{done.stderr}")
    # The validator finds a mistake: a misspelt key.
    wrong = options.work / "wrong.yaml"
    good = (folder / "disruption.yaml").read_text()
    wrong.write_text(good.replace("maxUnavailable", "maximumUnavailable"))
    assert validate(validator, [wrong]).returncode != 0, "a misspelt key is accepted"
    # The validator's own interpreter has a parser for YAML.
    command = [validator.parent / "python", "-c", LOAD, *files]
    loaded = subprocess.run(command, capture_output=True, check=True, text=True)
    resources = {(one["kind"], one["metadata"]["name"]): one for one in json.loads(loaded.stdout)}
    check_resources(options, resources)
    step(f"kubernetes: {len(files)} files with {len(resources)} resources match the schemas")


LOAD = """import json, sys, yaml
documents = [one for path in sys.argv[1:] for one in yaml.safe_load_all(open(path))]
print(json.dumps(documents))
"""


def validation_program(work):
    folder = work / "venv"
    program = folder / "bin/kubernetes-validate"
    if not program.exists():
        step(f"pip install {VALIDATOR}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", VALIDATOR], check=True)
    return program


def validate(validator, files):
    return subprocess.run([validator, "--strict", *files], capture_output=True, text=True)


def check_resources(options, resources):
    """Checks what no schema says: that the resources fit each other and the server."""
    probe = resources["ConfigMap", "wasgi-probe"]["data"]["probe.conf"]
    same = probe == (PACKAGING / "nginx/probe.conf").read_text()
    assert same, "probe.conf in configuration.yaml differs from packaging/nginx/probe.conf"
    configuration = options.work / "wasgi.toml"
    configuration.write_text(resources["ConfigMap", "wasgi"]["data"]["wasgi.toml"])
    command = [options.wasgi, "config", "--config", configuration]
    site = options.work / "balancers/site"
    shown = subprocess.run([*command, site], capture_output=True, text=True)
    assert shown.returncode == 0, f"wasgi.toml in configuration.yaml: {shown.stderr}"
    seconds = [
        int(re.search(rf'^{key} = "(\d+)s"', shown.stdout, re.MULTILINE)[1])
        for key in ("drain-delay", "shutdown-grace")
    ]
    pods = {
        key: one["spec"]["template"]["spec"]
        for key, one in resources.items()
        if "template" in one.get("spec", {})
    }
    period = pods["Deployment", "wasgi"]["terminationGracePeriodSeconds"]
    assert period > sum(seconds), "terminationGracePeriodSeconds is too short for a drain"
    for key, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"], key
        for container in pod["containers"] + pod.get("initContainers", []):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], container["name"]
            assert not context["allowPrivilegeEscalation"], container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]


def check_syntax(kind, file, work):
    """Lets a program check a configuration as it is in the repository."""
    if kind == "haproxy":
        command = ["haproxy", "-c", "-f", file]
    else:
        command = ["nginx", "-t", "-c", file, "-e", work / "syntax.errors"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{kind}/{file.name}:\n{done.stdout}{done.stderr}")
    step(f"{kind}/{file.name}: valid")


def certificate(work):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=localhost", "-days", "2"),
            *("-keyout", work / "key.pem", "-out", work / "chain.pem"),
        ],
        check=True,
        capture_output=True,
    )


def serve(wasgi, kind, file, scheme, work):
    """Serves two nodes through a balancer, and stops one of them under load."""
    ports = Ports()
    text = (PACKAGING / kind / file).read_text()
    extension = Path(file).suffix
    probe = (PACKAGING / kind / f"probe{extension}").read_text()
    with contextlib.ExitStack() as stack:
        nodes = []
        for node in NODES.values():
            configuration = ports.node(text, node).replace("/etc/wasgi", str(work))
            nodes.append(Node(wasgi, work / "site", work, ports, node, configuration))
            stack.enter_context(nodes[-1])
            own = ports.probe_configuration(probe, node)
            own = own.replace("/tmp/nginx-probe", f"{work}/{node}")
            stack.enter_context(balancer(kind, f"probe-{node}{extension}", own, work))
        for node in nodes:
            node.wait()
            check_probe(ports, node.address)
        front = stack.enter_context(balancer(kind, file, ports.balancer(text), work))

        def is_served():
            front.check()
            return get(scheme, ports.front, CLIENT) == 200

        wait_until(is_served, f"{kind} serves")
        # Each address of a client has its node, if the balancer chooses by address.
        for last in range(3, 60):
            client = f"127.0.0.{last}"
            code = get(scheme, ports.front, client)
            assert code == 200, f"{kind}/{file}: status {code}"
        for node in nodes:
            seen = clients(node)
            assert seen, f"{kind}/{file}: node {node.address} got no request"
            strange = seen - {f"127.0.0.{last}" for last in range(3, 60)}
            assert not strange, f"{kind}/{file}: not the addresses of clients: {strange}"
        requests, failed = load(scheme, ports.front, nodes[0])
        assert status(nodes[0].address, ports.probe[nodes[0].address], "/readyz")[0] != 200
    step(f"{kind}/{file}: {requests} requests while a node was stopped, {failed} failed")
    assert failed == 0 and requests > 0


def check_probe(ports, node):
    """Checks that the probe shows what it should, and nothing else."""
    port = ports.probe[node]
    wait_until(lambda: status(node, port, "/readyz")[0] == 200, f"the probe of {node}")
    assert status(node, port, "/healthz")[0] == 200
    assert b"wasgi_ready 1" in status(node, port, "/metrics")[1]
    for path in ("/status", "/", "/readyz/", "//status", "/metrics/../status", "/healthz%2f..%2fx"):
        assert status(node, port, path)[0] in (400, 404), path


def get(scheme, port, source):
    """Sends a request from an address, with a field that would name another one."""
    arguments = {"timeout": 10, "source_address": (source, 0)}
    if scheme == "https":
        arguments["context"] = without_verification()
        connection = http.client.HTTPSConnection(BALANCER, port, **arguments)
    else:
        connection = http.client.HTTPConnection(BALANCER, port, **arguments)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/", headers={"X-Forwarded-For": "203.0.113.9"})
            response = connection.getresponse()
            response.read()
            return response.status
        except OSError:
            return 0


def clients(node):
    """Returns the clients' addresses in a node's access log."""
    lines = node.log.read_text().splitlines()
    return {one["client"] for one in map(json.loads, lines) if "client" in one}


def load(scheme, port, node):
    """Stops a node while wrk sends requests. Returns their number, and that of failures."""
    wrk = subprocess.Popen(
        [
            *("wrk", "--threads", "1", "--connections", str(CONNECTIONS)),
            *("--duration", f"{LOAD_SECONDS}s", f"{scheme}://{BALANCER}:{port}/"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with wrk:
        try:
            wrk.wait(STOP_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            node.stop()
        output = wrk.stdout.read()
    requests = re.search(r"(\d+) requests in", output)
    bad = re.findall(r"(?:Socket errors|Non-2xx or 3xx responses): (.*)", output)
    failed = sum(int(number) for line in bad for number in re.findall(r"\d+", line))
    return int(requests[1]), failed


if __name__ == "__main__":
    main()
