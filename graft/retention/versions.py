"""Which versions of a log stay, and why (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from graft.retention.listing import LogListing
from graft.retention.policy import Retention
from metastore.collected import Remaining
from metastore.lsn import LSN


@dataclass(frozen=True, slots=True)
class RetainedVersions:
    """The versions of a log that a collection leaves readable."""

    floor: LSN
    """The oldest version of the window, which has no gaps up to the head."""
    head: LSN
    reasons: Mapping[LSN, str]
    """Why each version stays."""

    @property
    def remaining(self) -> Remaining:
        """What the log's next collection record says."""
        return Remaining(self.floor, tuple(sorted(lsn for lsn in self.reasons if lsn < self.floor)))

    @property
    def older(self) -> list[LSN]:
        """Versions that stay below the window, ascending."""
        return list(self.remaining.versions)


def retained_versions(
    found: LogListing,
    policy: Retention | None,
    roots: Mapping[LSN, str],
    now_s: float,
    name: str,
    rootable: Remaining,
) -> RetainedVersions | None:
    """Return what stays of the log of volume ``name``; None if it holds no version at all.

    Without a policy, all that was not collected before stays. ``roots`` are versions that something needs, with the
    reason; they count if they are ``rootable``. A version that an earlier collection gave up never comes back.
    """
    head = found.head
    if head is None:
        return None
    if found.is_closed:
        return _needed_by_others(found, roots)
    first = min(found.commits) if found.remaining.is_whole else found.remaining.floor
    first = min(first, head)
    floor, why = (first, f"{name} is not being collected") if policy is None else _window(found, policy, first, now_s)
    reasons: dict[LSN, str] = {}
    for lsn in range(floor, head):
        reasons[LSN(lsn)] = why
    reasons[head] = f"the newest version of {name}"
    kept_before = found.remaining.versions if policy is None else ()
    for lsn in kept_before:
        reasons.setdefault(lsn, why)
    for lsn, root in roots.items():
        if lsn in rootable and lsn in found.commits and (lsn < floor or lsn not in reasons):
            reasons[lsn] = root
    return RetainedVersions(floor, head, reasons)


def _needed_by_others(found: LogListing, roots: Mapping[LSN, str]) -> RetainedVersions | None:
    """Return the versions of a removed volume that branches still need."""
    reasons = {lsn: why for lsn, why in roots.items() if lsn in found.commits}
    return RetainedVersions(max(reasons), max(reasons), reasons) if reasons else None


def _window(found: LogListing, policy: Retention, first: LSN, now_s: float) -> tuple[LSN, str]:
    """Return the oldest version of the window, and why it and all after it stay."""
    head = max(found.commits)
    floor, why = head, ""
    if policy.keep_last is not None:
        floor, why = LSN(max(head - policy.keep_last + 1, first)), f"among the newest {policy.keep_last}"
    if policy.keep_for_s is not None:
        cutoff_s = now_s - policy.keep_for_s
        young = [lsn for lsn, listed in found.commits.items() if lsn >= first and listed.modified_s > cutoff_s]
        # The version before the oldest young one was still the newest within the window.
        by_age = max(LSN(min(young) - 1), first) if young else head
        if by_age < floor or not why:
            floor, why = min(by_age, floor), f"was the newest less than {_words(policy.keep_for_s)} ago"
    return floor, why


def _words(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} seconds"
