"""Asks, on the host that it runs on, what can be reached; told and answering a JSON line at a time.

Started in a network namespace as root; each question is asked by a child under another user.
`serve` opens what others may try to reach here.
"""

import json
import os
import socket
import sys
import threading


def _as_user(uid, ask):
    """The answer of a child that is this user."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            answer = ask()
        except OSError as error:
            answer = f"{type(error).__name__} {error.errno}"
        os.write(into, str(answer).encode())
        os._exit(0)
    os.close(into)
    answer = b""
    while part := os.read(out, 4096):
        answer += part
    os.close(out)
    os.waitpid(child, 0)
    return answer.decode()


def _family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def tcp(host, port, wait_s, send=0):
    """Connect, have the greeting, and deliver so many bytes."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as link:
        link.settimeout(wait_s)
        link.connect((host, port))
        if link.recv(5) != b"hello":
            return "no greeting"
        link.sendall(b"." * send)
        link.shutdown(socket.SHUT_WR)
        return "ok" if link.recv(20) == str(send).encode() else "not all arrived"


def udp(host, port, wait_s, source=0):
    """Send one, and have it back."""
    with socket.socket(_family(host), socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source:
            link.bind(("", source))
        link.settimeout(wait_s)
        link.sendto(b"hello", (host, port))
        return "ok" if link.recv(20) == b"hello" else "something else"


def _answer_tcp(server):
    while True:
        link, _ = server.accept()
        threading.Thread(target=_count, args=(link,), daemon=True).start()


def _count(link):
    with link:
        try:
            link.sendall(b"hello")
            total = 0
            while part := link.recv(65536):
                total += len(part)
            link.sendall(str(total).encode())
        except OSError:
            pass


def _answer_udp(server, echo_from):
    while True:
        data, peer = server.recvfrom(100)
        if echo_from is None:
            server.sendto(data, peer)
        heard[server.getsockname()[1]] = heard.get(server.getsockname()[1], 0) + 1


heard = {}


def serve(tcp_ports, udp_ports, silent=()):
    """Listen on both families."""
    for port in tcp_ports:
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=_answer_tcp, args=(server,), daemon=True).start()
    for port in (*udp_ports, *silent):
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::", port))
        echo = None if port in udp_ports else port
        threading.Thread(target=_answer_udp, args=(server, echo), daemon=True).start()
    return "ok"


def tell(host, port, by, source):
    """Send one from a port, as a server of DHCP does, and wait for nothing."""
    with socket.socket(_family(host), socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind((by, source))
        link.sendto(b"offer", (host, port))
    return "ok"


def main():
    for line in sys.stdin:
        order = json.loads(line)
        kind, uid = order.pop("do"), order.pop("uid", None)
        if kind == "heard":
            answer = heard.get(order["port"], 0)
        else:
            ask = {"tcp": tcp, "udp": udp, "serve": serve, "tell": tell}[kind]
            answer = _as_user(uid, lambda: ask(**order)) if uid is not None else ask(**order)  # noqa: B023 - asked at once
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
