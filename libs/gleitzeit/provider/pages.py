"""What a provider shows by plain HTTP: whether it lives, whether it takes calls, and its numbers for Prometheus."""

from collections.abc import Callable

from gleitzeit.provider.service import Service
from gleitzeit.transport.server import HttpReply

TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def pages(name: str, service: Service) -> dict[str, Callable[[], HttpReply]]:
    return {
        "/healthz": lambda: HttpReply(200, TEXT, b"ok\n"),
        "/readyz": lambda: _ready(service),
        "/metrics": lambda: HttpReply(200, PROMETHEUS, _metrics(name, service).encode()),
    }


def _ready(service: Service) -> HttpReply:
    return HttpReply(503, TEXT, b"draining\n") if service.table.draining else HttpReply(200, TEXT, b"ready\n")


def _metrics(name: str, service: Service) -> str:
    table = service.table
    label = f'{{provider="{name}"}}'
    gauges = {
        "calls_running": table.running,
        "calls_capacity": table.capacity,
        "results_kept": table.kept,
        "results_kept_bytes": table.kept_bytes,
    }
    lines = []
    for gauge, value in gauges.items():
        lines += [f"# TYPE gleitzeit_provider_{gauge} gauge", f"gleitzeit_provider_{gauge}{label} {value}"]
    lines.append("# TYPE gleitzeit_provider_calls_total counter")
    for outcome in ("completed", "failed"):
        counted = service.running.counts[outcome]
        lines.append(f'gleitzeit_provider_calls_total{{provider="{name}",outcome="{outcome}"}} {counted}')
    return "\n".join(lines) + "\n"
