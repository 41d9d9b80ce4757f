"""What was sent and what arrived, compared event by event."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .clients import Client, Received

#: For each user id, every event that the database holds, in order.
History = Mapping[int, list[Received]]


@dataclass
class Ledger:
    """The counts of one fault; an event counts once for each client that is due to get it."""

    sent: int = 0
    #: Of these, what was due to subscriptions and not to sockets of the stream's own.
    subscribed: int = 0
    #: Of these, what was due to clients without a socket.
    over_http: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    #: The longest time that it took to recover, in seconds.
    recovery: float | None = None
    _disorder: list[str] = field(default_factory=list)

    def compare(self, clients: Iterable[Client], history: History) -> None:
        """Add what these clients received to the counts, and check it against the database."""
        for client in clients:
            due = [
                event
                for event in history.get(client.person.id, [])
                if client.start is not None and event.seq > client.start
            ]
            counts = Counter(client.record)
            self.sent += len(due)
            self.subscribed += len(due) if client.stream else 0
            self.over_http += len(due) if client.over_http else 0
            self.received += sum(1 for event in due if event in counts)
            self.lost += sum(1 for event in due if event not in counts)
            self.duplicated += sum(count - 1 for count in counts.values())
            if client.record != due:
                self._disorder.append(
                    f"user {client.person.id} was due {brief(due)} and got {brief(client.record)}, "
                    f"closed with {client.codes}"
                )

    def recovered(self, seconds: float) -> None:
        """Note how long a recovery took."""
        self.recovery = max(seconds, self.recovery or 0.0)

    def check(self) -> None:
        """Fail unless every client got exactly what it was due, in order, and something was due."""
        assert self.sent, "nothing was sent"
        assert not self._disorder, (
            f"{self.lost} lost, {self.duplicated} duplicated of {self.sent}:\n"
            + "\n".join(self._disorder[:10])
        )


def brief(events: list[Received]) -> str:
    """Give the sequence numbers of events as ranges: 1-20, 22-30."""
    ranges: list[list[int]] = []
    for event in events:
        if ranges and event.seq == ranges[-1][1] + 1:
            ranges[-1][1] = event.seq
        else:
            ranges.append([event.seq, event.seq])
    return ", ".join(f"{first}-{last}" for first, last in ranges[:20]) or "nothing"
