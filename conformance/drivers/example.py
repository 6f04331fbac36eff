#!/usr/bin/env python3
"""A driver in about a hundred lines, to copy into another language.

It is a host up to where gRPC begins: it starts the plugin, checks the handshake line, notices its end and kills it.
Yours calls your library where this one works by hand. What this one does not have it says with exit code 89.
"""
import atexit, json, os, select, shutil, signal, subprocess, sys, threading, time

class Failed(Exception):
    """A failed step: the contract's kind of error, and a message for people."""

def first_line(pipe, seconds):
    """Returns the first line, which the end of the output may complete. HS-2, HS-3, HS-20, HS-23, HS-24"""
    text, give_up = b"", time.monotonic() + seconds
    while b"\n" not in text:
        if len(text) > 65536:
            raise Failed("start.not-a-handshake", "a line without an end")
        if not select.select([pipe], [], [], max(0, give_up - time.monotonic()))[0]:
            raise Failed("start.timeout", f"no line within {seconds} s")
        if not (more := os.read(pipe, 4096)):
            break
        text += more
    if not text:
        raise Failed("start.exited", "the output ended without a line")
    return text.split(b"\n")[0].decode(errors="replace").strip()

def number(text, kind):
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise Failed(kind, f"{text!r} is not a number")
    return int(text)

def check(line, app_versions):
    """Makes a host's checks in order; returns the agreed version. HS-4, HS-6, HS-10 to HS-17, TLS-7"""
    fields = line.split("|")
    if len(fields) < 4:
        raise Failed("start.not-a-handshake", f"{line!r} has fewer than four fields")
    if number(fields[0], "start.core-version") != 1:
        raise Failed("start.core-version", f"core version {fields[0]} is not 1")
    version = number(fields[1], "start.app-version")
    if version not in app_versions:
        raise Failed("start.app-version", f"app version {version} is none of {app_versions}")
    network, address, protocol, certificate = (fields[2:6] + ["", ""])[:4]
    if network not in ("unix", "tcp"):
        raise Failed("start.network", f"{network!r} is neither unix nor tcp")
    if network == "unix" and not 0 < len(address.encode()) <= 107:
        raise Failed("start.address", "no socket can have this path")
    if network == "tcp" and not (":" in address and 0 <= number(address.split(":")[-1], "start.address") < 65536):
        raise Failed("start.address", f"{address!r} is not host:port")
    if protocol != "grpc":
        raise Failed("start.protocol", f"protocol {protocol!r} is not grpc")
    if len(certificate) > 50:
        raise Failed("start.unexpected-certificate", "the plugin wants TLS, and this host did not ask")
    return version

def environment(subject):
    """HS-26, HS-30, ENV-5"""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLUGIN_")}
    versions, cookie = ",".join(map(str, subject["app_versions"])), subject["cookie"]
    return inherited | subject["env"] | {"PLUGIN_PROTOCOL_VERSIONS": versions, cookie["key"]: cookie["value"]}

class Host:
    plugin = None

    def start(self, subject, step):
        for option, known in ("tls", "none"), ("multiplex", False), ("reattach", None):
            if subject[option] != known:
                raise Failed("unimplemented", f"{option} {subject[option]}")
        try:
            self.plugin = subprocess.Popen(subject["command"], env=environment(subject), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, bufsize=0, start_new_session=True)
            line = first_line(self.plugin.stdout.fileno(), subject["start_timeout_ms"] / 1000)
            version = check(line, subject["app_versions"])
        except OSError as error:
            raise Failed("start.other", str(error))
        except Failed:
            self.kill()  # HS-21
            self.plugin = None
            raise
        drain = (self.plugin.stdout, open(os.devnull, "wb"))  # HS-22
        threading.Thread(target=shutil.copyfileobj, args=drain, daemon=True).start()
        return {"version": version, "protocol": "grpc"}

    def wait_exit(self, subject, step):
        if not self.plugin:
            raise Failed("not-started", "there is no plugin")
        try:
            self.plugin.wait(step["within_ms"] / 1000)
        except subprocess.TimeoutExpired:
            return {"exited": False}
        return {"exited": True}

    def kill(self, subject=None, step=None):
        """A host with gRPC calls Shutdown first, and gives the plugin two seconds."""
        if self.plugin and self.plugin.poll() is None:
            os.killpg(self.plugin.pid, signal.SIGKILL)
            self.plugin.wait()
        return {}

task, host = json.load(sys.stdin), Host()
ops = {"start": host.start, "wait-exit": host.wait_exit, "kill": host.kill}
atexit.register(host.kill)
for step in task["steps"]:
    answer, began = {"op": step["op"], "ok": True}, time.monotonic()
    try:
        if task["plugwire-conformance"] != 1 or step["op"] not in ops:
            raise Failed("unimplemented", "contract or op")
        answer |= ops[step["op"]](task["plugin"], step)
    except Failed as failed:
        kind, message = failed.args
        if kind == "unimplemented":
            print(json.dumps({"op": step["op"], "unimplemented": message}))
            sys.exit(89)
        answer |= {"ok": False, "error": {"kind": kind, "message": message}}
    answer["ms"] = int((time.monotonic() - began) * 1000)
    print(json.dumps(answer), flush=True)
