# SPDX-License-Identifier: Apache-2.0
"""The ledger: which proxy runs which revision, what it refused and who is to blame, and how far each step has come. No I/O; time comes
from a Clock, `settled` is called whenever a rollout may have left the state `pending`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from meshwright.clock import Clock
from meshwright.control.histogram import Histogram
from meshwright.control.ports import PeerIdentity, Refusal
from meshwright.control.session import ProxyState, Session, Standing, Subject
from meshwright.control.step import Rejection, Step
from meshwright.control.times import Moment, rfc3339
from meshwright.errors import Compacted
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.snapshot import Snapshot

HISTORY = 1_000
MAX_MESSAGE = 2_000


class Ledger:
    """`served` is the revision of what is served: every revision up to it is in a step or concerns no proxy."""

    def __init__(self, clock: Clock, settled: Callable[[], object], history: int = HISTORY) -> None:
        self.served = 0
        self.push_seconds = Histogram()
        self.refusals = 0
        self._clock = clock
        self._settled = settled
        self._limit = history
        self._steps: list[Step] = []
        self._lasts: list[int] = []
        self._forgotten = 0  # revisions up to here may have had steps that are forgotten
        self._unfinished: dict[int, Step] = {}
        self._proxies: dict[ProxyId, ProxyState] = {}
        self._last_step: dict[Ref, Step] = {}
        self._blamed: dict[Ref, dict[tuple[ProxyId, Subject], Standing]] = {}

    def now(self) -> Moment:
        return Moment(self._clock.now(), self._clock.monotonic())

    # -- who there is ---------------------------------------

    def enrol(self, ids: Iterable[ProxyId]) -> None:
        for id in ids:
            self._proxies.setdefault(id, ProxyState())

    def remove(self, id: ProxyId) -> None:
        """No longer enrolled: it counts nowhere any more, what its streams still say is not heard."""
        state = self._proxies.pop(id, None)
        for session in list(state.sessions) if state is not None else ():
            self._drop(session)
        for step in state.behind if state is not None else ():
            self._less_waiting(step)

    def state(self, id: ProxyId) -> ProxyState | None:
        return self._proxies.get(id)

    @property
    def proxies(self) -> Mapping[ProxyId, ProxyState]:
        return self._proxies

    # -- what the streams report ---------------------------------------

    def attach(self, peer: PeerIdentity) -> Session:
        state = self._proxies.setdefault(peer.proxy, ProxyState())
        session = Session(peer, self._clock.now(), state.left)
        state.sessions.append(session)
        self._recount(peer.proxy, state)
        return session

    def detach(self, session: Session) -> None:
        state = self._proxies.get(session.id)
        if state is None or not session.open:
            return
        state.sessions.remove(session)
        state.left = {**session.inherited, **session.standing}
        self._drop(session)
        self._recount(session.id, state)

    def _drop(self, session: Session) -> None:
        for subject in list(session.standing):
            self._unblame(session, subject)
        session.standing = {}
        session.open = False

    def offered(self, session: Session, snapshot: Snapshot, revision: int) -> None:
        session.mark_stale(snapshot, revision)
        if session.snapshot is None or revision > session.offered:
            session.offered_at = self._clock.monotonic()
        session.snapshot = snapshot
        session.offered = revision

    def acked(self, session: Session, revision: int) -> None:
        state = self._proxies.get(session.id)
        if state is None or not session.open or revision <= session.acked:
            return
        session.acked = revision
        session.inherited = state.left = {}
        if revision == session.offered:
            self.push_seconds.add(self._clock.monotonic() - session.offered_at)
        for subject, standing in list(session.standing.items()):
            if standing.stale is not None and standing.stale <= revision:
                self._unblame(session, subject)
                del session.standing[subject]
        everywhere = state.acked
        state.acked_before = max(state.acked_before, everywhere)
        while state.behind and state.behind[0].last <= everywhere:
            self._less_waiting(state.behind.popleft())

    def rejected(self, session: Session, refusal: Refusal) -> None:
        if not session.open:
            return
        self.refusals += 1
        subject = (refusal.type, refusal.name)
        before = session.standing.get(subject) or session.inherited.get(subject)
        standing = self._judge(session, refusal, before)
        self._unblame(session, subject)
        session.standing[subject] = standing
        for ref in standing.blame:
            self._blamed.setdefault(ref, {})[session.id, subject] = standing
        for step in self._guilty(session, standing):
            self._record(step, session.id, standing)
        self._settled()

    def _judge(self, session: Session, refusal: Refusal, before: Standing | None) -> Standing:
        refusal = refusal._replace(message=refusal.message[:MAX_MESSAGE])
        stale = None
        snapshot = session.snapshot
        if snapshot is not None and refusal.name:
            current = snapshot.get(refusal.type, refusal.name)
            stale = None if current is not None and current.version == refusal.version else session.offered
        if before is not None and before.refusal.version == refusal.version and refusal.name:
            return before._replace(refusal=refusal, stale=stale)  # the same again, after a reconnect for instance
        state = self._proxies[session.id]
        good = before.good if before is not None else session.acked or state.acked_before
        found = snapshot.get(refusal.type, refusal.name) if snapshot is not None else None
        origins = frozenset(found.origins) if found is not None else frozenset()
        since = self._refs_between(good, refusal.revision)
        narrowed = origins & since if origins else since if not refusal.name else frozenset()
        return Standing(refusal, good, narrowed or origins, bool(narrowed), self._clock.now(), stale)

    def _refs_between(self, good: int, until: int) -> frozenset[Ref]:
        """What changed after `good`, up to `until`; nothing when that is not known any more."""
        if good == 0 or good < self._forgotten:
            return frozenset()
        first = bisect_right(self._lasts, good)
        return frozenset[Ref]().union(*(step.refs for step in self._steps[first:] if step.first <= until))

    def _guilty(self, session: Session, standing: Standing) -> list[Step]:
        """The steps that the proxy refuses with it: those that changed what is to blame, else those of which nobody knows what they
        changed, else the last that concerned the proxy."""
        until = standing.refusal.revision if standing.stale is not None else max(standing.refusal.revision, session.offered)
        after = bisect_right(self._lasts, standing.good)
        steps = [s for s in self._steps[after:] if s.first <= until and (s.concerned is None or s.concerns(session.id))]
        guilty = [step for step in steps if not step.refs.isdisjoint(standing.blame)]
        if not standing.narrowed:
            guilty += [step for step in steps if step.revisions is None or (not guilty and not step.refs)]
        return guilty or steps[-1:]

    def _record(self, step: Step, proxy: ProxyId, standing: Standing) -> None:
        refusal = standing.refusal
        known = not step.refs.isdisjoint(standing.blame)
        step.reject(Rejection(str(proxy), refusal.type.value, refusal.name, refusal.message, standing.blame, known), self.now())

    def _unblame(self, session: Session, subject: Subject) -> None:
        standing = session.standing.get(subject)
        for ref in standing.blame if standing is not None else ():
            blamed = self._blamed.get(ref)
            if blamed is not None:
                blamed.pop((session.id, subject), None)
                if not blamed:
                    del self._blamed[ref]

    # -- what the controller does ---------------------------------------

    def begin(self, last: int, started: Moment, revisions: Mapping[int, frozenset[Ref]] | None) -> Step:
        """A step is being compiled; its proxies are named by `close`. `last` is above that of every step before. The oldest step is
        forgotten when there are too many; one that isn't finished is kept up to twice as long."""
        step = Step(last, started, revisions, first=self.served + 1 if self._steps else 0)
        self._steps.append(step)
        self._lasts.append(last)
        self._unfinished[last] = step
        for ref in step.refs:
            self._last_step[ref] = step
        excess = len(self._steps) - self._limit
        if excess > self._limit or (excess > 0 and self._steps[0].finished is not None):
            self._forget(self._steps.pop(0))
            del self._lasts[0]
        return step

    def close(self, step: Step, concerned: Sequence[frozenset[ProxyId]], failures: Iterable[Rejection] = ()) -> None:
        """Compiled and offered to all it concerns (disjoint sets); `failures`: what could not be compiled."""
        step.concerned = concerned
        for failure in failures:
            step.reject(failure, self.now())
        self.served = max(self.served, step.last)
        for id in step.proxies():
            state = self._proxies.get(id)
            if state is None or not state.connected:
                continue
            if state.acked < step.last:
                state.behind.append(step)
                step.waiting += 1
            for session in state.sessions:
                for standing in session.standing.values():
                    if standing.stale is None and not step.refs.isdisjoint(standing.blame):
                        self._record(step, id, standing)  # it won't be asked again, its answer holds
        self._finish_if_done(step)

    def serve(self, revision: int) -> None:
        """Everything up to this revision is served; what is in no step concerned nobody."""
        self.served = max(self.served, revision)
        self._settled()

    def _forget(self, step: Step) -> None:
        self._forgotten = step.last
        self._unfinished.pop(step.last, None)
        for ref in step.refs:
            if self._last_step.get(ref) is step:
                del self._last_step[ref]

    def _recount(self, id: ProxyId, state: ProxyState) -> None:
        """Streams came or went: what does this proxy keep waiting now?"""
        for step in state.behind:
            step.waiting -= 1
        acked = state.acked
        before, state.behind = state.behind, type(state.behind)()
        if state.connected:
            for step in self._unfinished.values():
                if step.last > acked and step.concerns(id):
                    state.behind.append(step)
                    step.waiting += 1
        for step in before:
            self._finish_if_done(step)

    def _less_waiting(self, step: Step) -> None:
        step.waiting -= 1
        self._finish_if_done(step)

    def _finish_if_done(self, step: Step) -> None:
        if step.waiting <= 0 and step.concerned is not None and step.finished is None:
            step.finished = self.now()
            self._unfinished.pop(step.last, None)
            self._settled()

    # -- what may be asked ---------------------------------------

    def step_of(self, revision: int) -> Step | None:
        """None: it is not served yet, or concerns no proxy. Raises Compacted for one that is forgotten."""
        if revision < 0 or (self._forgotten and revision <= self._forgotten):
            raise Compacted(f"revision {revision} is not among the last {self._limit} changes")
        at = bisect_left(self._lasts, revision)
        step = self._steps[at] if at < len(self._steps) else None
        return step if step is not None and step.holds(revision) else None

    def state_of(self, revision: int) -> str:
        """pending | done | rejected."""
        step = self.step_of(revision)
        if step is not None:
            return step.state_of(revision)
        return "done" if revision <= self.served else "pending"

    def rollout(self, revision: int) -> dict[str, Any]:
        """As `GET /mesh/v1/rollouts/{revision}` answers it. Who was away when it ended stays `away` until it has ACKed."""
        step = self.step_of(revision)
        state = self.state_of(revision)
        found: dict[str, Any] = {"revision": revision, "state": state, "proxies": self._counted(step), "rejections": []}
        found |= {"startedAt": None, "finishedAt": None, "seconds": 0.0}
        if step is None:
            return found
        ended = step.refused if state == "rejected" else step.finished
        found["rejections"] = [rejection.to_json() for rejection in step.rejections_of(revision)]
        found["startedAt"] = rfc3339(step.started.wall)
        found["finishedAt"] = rfc3339(ended.wall) if ended else None
        found["seconds"] = round((ended or self.now()).seconds - step.started.seconds, 3)
        return found

    def _counted(self, step: Step | None) -> dict[str, Any]:
        total, pending, away = 0, [], []
        for id in step.proxies() if step is not None else ():
            state = self._proxies.get(id)
            if state is None or step is None:
                continue
            total += 1
            if state.connected and step.finished is None:
                if state.acked < step.last:
                    pending.append(str(id))
            elif max(state.acked_before, state.acked) < step.last:
                away.append(str(id))
        return {"total": total, "acked": total - len(pending) - len(away), "pending": sorted(pending), "away": sorted(away)}

    def last_step(self, ref: Ref) -> Step | None:
        """The last one that changed this resource, if it is remembered."""
        return self._last_step.get(ref)

    def blamed(self, ref: Ref) -> list[tuple[ProxyId, Standing]]:
        """The refusals that stand and that this resource caused, sorted by proxy and name."""
        found = [(id, standing) for (id, _), standing in self._blamed.get(ref, {}).items()]
        return sorted(found, key=lambda item: (item[0], item[1].refusal.type.value, item[1].refusal.name))

    @property
    def unfinished(self) -> int:
        return len(self._unfinished)
