"""What earlier versions called the states of a workflow: accepted where somebody asks for some, never sent."""

from typing import Final

STATUSES: Final = {
    "submitted": "pending",
    "queued": "pending",
    "validated": "pending",
    "routed": "pending",
    "executing": "running",
    "retry_pending": "running",
    "canceled": "cancelled",
}
