"""Put the service under load and damage its generator: latency with and without the monitor, and when the alarm comes.

    python examples/service/load_test.py --rate 100 --seconds 20

It starts the service itself, twice, on the loopback. Requests are sent at a fixed rate whether or not earlier ones were
answered, and latency counts from the moment at which a request was due, so a service that falls behind shows it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
CLIENTS = 8


class Service:
    """The service as a process on a free port."""

    def __init__(self, monitor: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(HERE), "--port", str(self.port)]
        environment = {**os.environ, "MONITOR": "on" if monitor else "off"}
        self.process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)

    def __enter__(self) -> Service:
        end = time.monotonic() + 300
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.ask("GET", "/image")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.2)
        sys.exit("the service does not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def health(self) -> dict:
        return json.loads(self.ask("GET", "/quality/healthz")[1])


def load(service: Service, rate: float, seconds: float) -> list[float]:
    """Latency in seconds of each request."""
    due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    found: list[float] = []
    failed: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        while (when := due.get()) is not None:
            try:
                connection.request("GET", "/image")
                connection.getresponse().read()
                found.append(time.perf_counter() - when)
            except OSError as error:
                failed.append(str(error))
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        at = start + number / rate
        time.sleep(max(0.0, at - time.perf_counter()))
        due.put(at)
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.join()
    if failed:
        sys.exit(f"{len(failed)} requests failed: {failed[0]}")
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20, help="of load, with and without the monitor")
    options = parser.parse_args()
    print("| | requests | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |", flush=True)
    for watched in (False, True):
        with Service(watched) as service:
            if watched:
                while service.health()["status"] != "running":
                    time.sleep(0.5)
            times = load(service, options.rate, options.seconds)
            middle, late = (1000 * times[int(share * len(times))] for share in (0.5, 0.99))
            name = "with the monitor" if watched else "without"
            print(f"| {name} | {len(times):,} | {middle:.1f} | {late:.1f} |", flush=True)
            if watched:
                demonstrate(service, options.rate)


def demonstrate(service: Service, rate: float) -> None:
    """Damage the generator under load, and wait for the alarm; repair it, and wait for its end."""
    while service.ask("GET", "/quality/report")[0] != 200:  # until there is a first whole window
        load(service, rate, 1)
    before = service.health()
    print(
        f"\nhealthy: {before['counts']['extracted']:,} images looked at, alarms: {before['active_alarms']}", flush=True
    )
    for fault in ("blur", "none", "collapse"):
        service.ask("POST", f"/fault/{fault}")
        start, began = service.health()["counts"]["extracted"], time.monotonic()
        while time.monotonic() - began < 300:
            load(service, rate, 1)
            health = service.health()
            if bool(health["active_alarms"]) == (fault != "none"):
                break
        seen, seconds = health["counts"]["extracted"] - start, time.monotonic() - began
        print(f"{fault}: after {seen:,} images ({seconds:.0f} s) alarms: {health['active_alarms']}", flush=True)


if __name__ == "__main__":
    main()
