"""How far our own time may be believed: TRUSTED, HOLDOVER with an uncertainty, or UNTRUSTED. Pure.

* After a start nothing is believed until one source agrees with the machine's time.
* Time never falls below the persisted high-water mark; only a signed word of the cloud may lower the mark.
* A step of more than ten seconds against the monotonic clock needs a new agreement.
* Between agreements the uncertainty grows with the drift of a cheap crystal; HOLDOVER still allows a cut whose whole
  uncertainty lies outside protected hours, UNTRUSTED allows none. Metering, credit and restoring always go on.
* A better source is not overruled by a lesser one while it is fresh.
* A welcome may have lain on its way: its time is true to within half of its greatest age. One of unknown age confirms nothing; it can
  only say that our clock is behind, for it was not written in the future.

Source: prepayment.md 5.6; safety.md 12.
"""

from __future__ import annotations

from collections.abc import Sequence

from gridtally_edge.prepay.events import ClockObserved, ClockSource, WelcomeSeen
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import ClockState
from gridtally_shared.records import changed, dataclass

STEP_MS = 10_000
WELCOME_ERROR_MS = 5_000
DRIFT_PPM = 100
FRESH_MS = MS_PER_DAY
HOLDOVER_LIMIT_MS = 10 * 60_000
METERS_NEEDED = 5
OUTLIER_MADS = 5
METERS_ERROR_MS = 60_000
RANK: dict[ClockSource, int] = {ClockSource.VIRTUAL: 4, ClockSource.CLOUD: 3, ClockSource.NTP: 2, ClockSource.METERS: 1}


@dataclass(frozen=True, slots=True)
class Trust:
    """What is remembered. `agreed_ms`: our time at the last agreement, None since start. `floor_ms` outlives restarts."""

    floor_ms: int = 0
    source: ClockSource | None = None
    agreed_ms: int | None = None
    error_ms: int = 0
    mono_offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ClockVerdict:
    state: ClockState
    uncertainty_ms: int


def agrees(observation: ClockObserved) -> bool:
    """Whether the source confirms our time within a step and its own error."""
    return abs(observation.true_ms - observation.local_ms) <= STEP_MS + observation.error_ms


def observe(trust: Trust, observation: ClockObserved) -> Trust:
    """Take in what a source said about our clock."""
    if _is_overruled(trust, observation):
        return trust
    if not agrees(observation):
        return changed(trust, source=observation.source, agreed_ms=None)
    error_ms = abs(observation.true_ms - observation.local_ms) + observation.error_ms
    known = verdict(trust, observation.local_ms)
    if known.state is not ClockState.UNTRUSTED:
        error_ms = min(error_ms, known.uncertainty_ms)
    return changed(trust, source=observation.source, agreed_ms=observation.local_ms, error_ms=error_ms)


def observe_signed(trust: Trust, observation: ClockObserved) -> Trust:
    """As `observe`, and a signed word that agrees with our time may lower a high-water mark set by a wrong clock."""
    observed = observe(trust, observation)
    lower = agrees(observation) and observation.local_ms < trust.floor_ms
    return changed(observed, floor_ms=observation.local_ms) if lower else observed


def pass_time(trust: Trust, now_ms: int, mono_ms: int | None) -> Trust:
    """Note that it is now `now_ms`: raise the mark while time is believed, and lose the agreement after a step.
    `mono_ms` is the monotonic clock at the same speed as `now_ms`, None where there is none."""
    moved = trust
    if mono_ms is not None:
        offset_ms = now_ms - mono_ms
        stepped = trust.mono_offset_ms is not None and abs(offset_ms - trust.mono_offset_ms) > STEP_MS
        moved = changed(trust, mono_offset_ms=offset_ms, agreed_ms=None if stepped else trust.agreed_ms)
    if verdict(moved, now_ms).state is ClockState.UNTRUSTED:
        return moved
    return changed(moved, floor_ms=max(moved.floor_ms, now_ms))


def restarted(trust: Trust) -> Trust:
    """After a start only the mark is left."""
    return Trust(floor_ms=trust.floor_ms)


def verdict(trust: Trust, now_ms: int) -> ClockVerdict:
    """TRUSTED up to a day after an agreement, then HOLDOVER while the uncertainty is bearable."""
    if trust.agreed_ms is None or now_ms < trust.floor_ms or now_ms < trust.agreed_ms - STEP_MS:
        return ClockVerdict(ClockState.UNTRUSTED, 0)
    age_ms = max(0, now_ms - trust.agreed_ms)
    uncertainty_ms = trust.error_ms + age_ms * DRIFT_PPM // 1_000_000
    if uncertainty_ms > HOLDOVER_LIMIT_MS:
        return ClockVerdict(ClockState.UNTRUSTED, uncertainty_ms)
    state = ClockState.TRUSTED if age_ms <= FRESH_MS else ClockState.HOLDOVER
    return ClockVerdict(state, uncertainty_ms)


def welcome_observation(welcome: WelcomeSeen, now_ms: int) -> ClockObserved | None:
    """What a signed welcome says of our clock."""
    if welcome.age_ms is not None:
        half_ms = welcome.age_ms // 2
        return ClockObserved(ClockSource.CLOUD, welcome.at_ms + half_ms, now_ms, WELCOME_ERROR_MS + half_ms)
    behind = ClockObserved(ClockSource.CLOUD, welcome.at_ms, now_ms, WELCOME_ERROR_MS)
    return None if agrees(behind) or welcome.at_ms < now_ms else behind


def meters_offset_ms(offsets_ms: Sequence[int]) -> int | None:
    """The median of the meters' clocks against ours, outliers left out; None for fewer than five that agree."""
    if len(offsets_ms) < METERS_NEEDED:
        return None
    centre = median_low(offsets_ms)
    spread = max(1_000, median_low([abs(o - centre) for o in offsets_ms]))
    kept = [o for o in offsets_ms if abs(o - centre) <= OUTLIER_MADS * spread]
    return median_low(kept) if len(kept) >= METERS_NEEDED else None


def meters_observation(offsets_ms: Sequence[int], now_ms: int) -> ClockObserved | None:
    offset_ms = meters_offset_ms(offsets_ms)
    if offset_ms is None:
        return None
    return ClockObserved(ClockSource.METERS, now_ms + offset_ms, now_ms, METERS_ERROR_MS)


def _is_overruled(trust: Trust, observation: ClockObserved) -> bool:
    if trust.source is None or trust.agreed_ms is None:
        return False
    fresh = 0 <= observation.local_ms - trust.agreed_ms <= 2 * MS_PER_HOUR
    return fresh and RANK[observation.source] < RANK[trust.source]


def median_low(values: Sequence[int]) -> int:
    """The middle value, the lower of two; one of the values itself. (The module statistics would cost memory and start.)"""
    return sorted(values)[(len(values) - 1) // 2]
