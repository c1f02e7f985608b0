#!/usr/bin/python3
"""One call of Kubernetes' Container Runtime Interface, with its request and answer as JSON.

    engine-cri.py METHOD [REQUEST]      runtime.v1, on CRI_SOCKET (containerd's)

Debian has no crictl, and the interface's definition is in no package, so the field numbers that the checks need
stand here: a name is a field's number, and what it holds. `[…]` repeats; a dictionary is a message.
"""

import json
import os
import sys

import grpc

TEXT, NUMBER, FLAG = "text", "number", "flag"
VALUE = {"value": (1, NUMBER)}
METADATA = {"name": (1, TEXT), "uid": (2, TEXT), "namespace": (3, TEXT), "attempt": (4, NUMBER)}
NAMESPACES = {"network": (1, NUMBER), "pid": (2, NUMBER), "ipc": (3, NUMBER)}
PROFILE = {"profile_type": (1, NUMBER), "localhost_ref": (2, TEXT)}
MAP = "map"
POD = {
    "metadata": (1, METADATA),
    "hostname": (2, TEXT),
    "log_directory": (3, TEXT),
    "linux": (8, {
        "cgroup_parent": (1, TEXT),
        "security_context": (2, {
            "namespace_options": (1, NAMESPACES),
            "run_as_user": (3, VALUE),
            "readonly_rootfs": (4, FLAG),
            "privileged": (6, FLAG),
            "seccomp": (9, PROFILE),
        }),
        "sysctls": (3, MAP),
    }),
}
RESOURCES = {
    "cpu_period": (1, NUMBER),
    "cpu_quota": (2, NUMBER),
    "cpu_shares": (3, NUMBER),
    "memory_limit_in_bytes": (4, NUMBER),
    "oom_score_adj": (5, NUMBER),
    "cpuset_cpus": (6, TEXT),
}
CONTAINER = {
    "metadata": (1, {"name": (1, TEXT), "attempt": (2, NUMBER)}),
    "image": (2, {"image": (1, TEXT)}),
    "command": (3, [TEXT]),
    "args": (4, [TEXT]),
    "working_dir": (5, TEXT),
    "envs": (6, [{"key": (1, TEXT), "value": (2, TEXT)}]),
    "mounts": (7, [{"container_path": (1, TEXT), "host_path": (2, TEXT), "readonly": (3, FLAG)}]),
    "devices": (8, [{"container_path": (1, TEXT), "host_path": (2, TEXT), "permissions": (3, TEXT)}]),
    "log_path": (11, TEXT),
    "tty": (14, FLAG),
    "linux": (15, {
        "resources": (1, RESOURCES),
        "security_context": (2, {
            "capabilities": (1, {"add": (1, [TEXT]), "drop": (2, [TEXT])}),
            "privileged": (2, FLAG),
            "namespace_options": (3, NAMESPACES),
            "run_as_user": (5, VALUE),
            "readonly_rootfs": (7, FLAG),
            "supplemental_groups": (8, [NUMBER]),
            "no_new_privs": (11, FLAG),
            "run_as_group": (12, VALUE),
            "masked_paths": (13, [TEXT]),
            "readonly_paths": (14, [TEXT]),
            "seccomp": (15, PROFILE),
        }),
    }),
}
POD_ID, CONTAINER_ID = {"pod_sandbox_id": (1, TEXT)}, {"container_id": (1, TEXT)}
METHODS = {  # name: request, answer
    "Version": ({}, {"runtime_name": (2, TEXT), "runtime_version": (3, TEXT)}),
    "RunPodSandbox": ({"config": (1, POD), "runtime_handler": (2, TEXT)}, POD_ID),
    "PodSandboxStatus": (POD_ID, {"status": (1, {"id": (1, TEXT), "state": (3, NUMBER), "runtime_handler": (9, TEXT)})}),
    "ListPodSandbox": ({}, {"items": (1, [{"id": (1, TEXT)}])}),
    "StopPodSandbox": (POD_ID, {}),
    "RemovePodSandbox": (POD_ID, {}),
    "CreateContainer": ({**POD_ID, "config": (2, CONTAINER), "sandbox_config": (3, POD)}, CONTAINER_ID),
    "StartContainer": (CONTAINER_ID, {}),
    "StopContainer": ({**CONTAINER_ID, "timeout": (2, NUMBER)}, {}),
    "RemoveContainer": (CONTAINER_ID, {}),
    "ContainerStatus": (CONTAINER_ID, {"status": (1, {
        "id": (1, TEXT), "state": (3, NUMBER), "exit_code": (7, NUMBER), "reason": (10, TEXT), "message": (11, TEXT),
    })}),
    "ContainerStats": (CONTAINER_ID, {"stats": (1, {"cpu": (2, {}), "memory": (3, {})})}),
    "ExecSync": ({**CONTAINER_ID, "cmd": (2, [TEXT]), "timeout": (3, NUMBER)},
                 {"stdout": (1, TEXT), "stderr": (2, TEXT), "exit_code": (3, NUMBER)}),
    "UpdateContainerResources": ({**CONTAINER_ID, "linux": (2, RESOURCES)}, {}),
}


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def encode(message, fields):
    out = b""
    for name, value in message.items():
        number, kind = fields[name]
        if kind == MAP:
            kind, value = [{"key": (1, TEXT), "value": (2, TEXT)}], [{"key": k, "value": v} for k, v in value.items()]
        repeated = isinstance(kind, list)
        for one in value if repeated else [value]:
            item = kind[0] if repeated else kind
            if item in (NUMBER, FLAG):
                out += varint(number << 3) + varint(int(one))
            else:
                data = encode(one, item) if isinstance(item, dict) else one.encode()
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def read_varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at


def empty(kind):
    return {TEXT: "", NUMBER: 0, FLAG: False}.get(kind) if isinstance(kind, str) else [] if isinstance(kind, list) else None


def decode(data, fields):
    names = {number: (name, kind) for name, (number, kind) in fields.items()}
    message, at = {name: empty(kind) for name, (_, kind) in fields.items()}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 2:
            length, at = read_varint(data, at)
            value, at = data[at:at + length], at + length
        elif key & 7 == 0:
            value, at = read_varint(data, at)
        else:
            value, at = None, at + (8 if key & 7 == 1 else 4)
        if key >> 3 not in names:
            continue
        name, kind = names[key >> 3]
        item = kind[0] if isinstance(kind, list) else kind
        if isinstance(item, dict):
            value = decode(value, item)
        elif item == TEXT:
            value = value.decode(errors="replace")
        if isinstance(kind, list):
            message[name].append(value)
        else:
            message[name] = value
    return message


def main():
    method = sys.argv[1]
    request, answer = METHODS[method]
    service = "ImageService" if "Image" in method else "RuntimeService"
    socket = os.environ.get("CRI_SOCKET", "/run/containerd/containerd.sock")
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        call = channel.unary_unary(f"/runtime.v1.{service}/{method}")
        try:
            data = call(encode(json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"), request), timeout=60)
        except grpc.RpcError as error:
            sys.exit(f"{method}: {error.code().name}: {error.details()}")
    print(json.dumps(decode(data, answer)))


main()
