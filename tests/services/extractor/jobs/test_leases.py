"""A stored extraction is run by one process at a time, and by another one when its process has gone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.extractor.jobs import leases
from services.extractor.jobs.leases import JobLeases, Verdict
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_jobs import StoredJob, StoredJobs, job_name
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.selection import SelectionCriteria
from signet.errors import NotFound
from signet.field_types import MAX_COUNT
from signet.store import ObjectStore, keys

CRITERIA = SelectionCriteria(20, 3, ("train",), ("book", "drink"))
RUNNING = ExtractionProgress(ExtractionState.RUNNING, total=5, extracted=2, clips=("a",), notes=("n",))
DONE = ExtractionProgress(
    ExtractionState.SUCCEEDED, total=5, extracted=4, broken=1, failures=(ClipFailure("x", "html", "a page"),)
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of this process forward."""
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("services.extractor.jobs.leases.time.monotonic", lambda: now)
    return advance


def _load(store: ObjectStore, name: str = "job") -> StoredJob:
    return StoredJobs(store).load(name).job


def test_a_job_is_kept_with_all_that_a_client_can_ask_for(object_store: ObjectStore) -> None:
    owner = JobLeases(StoredJobs(object_store))
    owner.start("job", "wlasl", CRITERIA)
    assert owner.beat("job", RUNNING) is Verdict.CONTINUE
    kept = _load(object_store)
    assert kept.criteria == CRITERIA
    assert (kept.corpus, kept.ended, kept.beat) == ("wlasl", "", 1)
    assert (kept.progress.total, kept.progress.extracted, kept.progress.clips) == (5, 2, ())
    assert owner.end("job", DONE)
    ended = _load(object_store)
    assert ended.ended
    assert not ended.owner
    assert ended.progress == DONE


def test_another_process_takes_a_job_over_only_when_its_beat_stands_still(
    directory_store: ObjectStore, clock: Callable[[float], None]
) -> None:
    first, second = (JobLeases(StoredJobs(directory_store)) for _ in range(2))
    first.start("job", "wlasl", CRITERIA)
    for _ in range(10):
        assert not second.claim_abandoned(4, ())
        clock(leases.LEASE_SECONDS - 1)
        first.beat("job", RUNNING)
    assert second.corpora_of_others() == {"wlasl"}
    assert first.corpora_of_others() == set()
    assert not second.claim_abandoned(4, ())
    clock(leases.LEASE_SECONDS)
    ((name, job),) = second.claim_abandoned(4, ())
    assert (name, job.corpus, job.criteria) == ("job", "wlasl", CRITERIA)
    # The first one was only away. It finds that it has lost the job, and changes nothing any more.
    assert first.beat("job", RUNNING) is Verdict.STOP
    assert not first.end("job", DONE)
    assert not _load(directory_store).ended
    assert second.beat("job", RUNNING) is Verdict.CONTINUE


def test_of_two_processes_one_gets_an_abandoned_job(object_store: ObjectStore, clock: Callable[[float], None]) -> None:
    first, *others = (JobLeases(StoredJobs(object_store)) for _ in range(4))
    first.start("job", "wlasl", CRITERIA)
    for other in others:
        assert not other.claim_abandoned(4, ())
    clock(leases.LEASE_SECONDS)
    assert [len(other.claim_abandoned(4, ())) for other in others] == [1, 0, 0]


def test_a_released_job_is_resumed_at_once(directory_store: ObjectStore) -> None:
    first, second = (JobLeases(StoredJobs(directory_store)) for _ in range(2))
    first.start("job", "wlasl", CRITERIA)
    assert first.will_be_resumed("job")
    first.release("job")
    assert len(second.claim_abandoned(4, ())) == 1


def test_jobs_wait_for_a_place_and_for_the_corpus(directory_store: ObjectStore) -> None:
    first, second = (JobLeases(StoredJobs(directory_store)) for _ in range(2))
    for name, corpus in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")):
        first.start(name, corpus, CRITERIA)
        first.release(name)
    assert not second.claim_abandoned(0, ())
    assert [name for name, _ in second.claim_abandoned(2, {"b"})] == ["1", "4"]
    assert [name for name, _ in second.claim_abandoned(2, {"a", "c"})] == ["3"]


def test_a_cancelled_job_is_not_resumed(directory_store: ObjectStore, clock: Callable[[float], None]) -> None:
    first, second = (JobLeases(StoredJobs(directory_store)) for _ in range(2))
    for name in ("mine", "killed", "released", "waiting"):
        first.start(name, name, CRITERIA)
    assert first.request_cancel("mine").cancelled
    assert first.beat("mine", RUNNING) is Verdict.CANCEL
    assert not first.will_be_resumed("mine")
    assert second.request_cancel("killed").owner, "its process must end it"
    assert second.request_cancel("released").cancelled
    assert first.beat("released", RUNNING) is Verdict.CANCEL
    first.release("released")
    assert _load(directory_store, "released").progress.state is ExtractionState.CANCELLED
    first.release("waiting")
    assert second.request_cancel("waiting").ended
    second.claim_abandoned(4, ())
    clock(leases.LEASE_SECONDS)
    assert not second.claim_abandoned(4, ())
    assert _load(directory_store, "killed").progress.state is ExtractionState.CANCELLED
    with pytest.raises(NotFound):
        second.request_cancel("other")


def test_a_job_that_ends_its_process_each_time_is_given_up(
    directory_store: ObjectStore, clock: Callable[[float], None]
) -> None:
    JobLeases(StoredJobs(directory_store)).start("job", "wlasl", CRITERIA)
    for attempt in range(20):
        process = JobLeases(StoredJobs(directory_store))
        process.claim_abandoned(4, ())
        clock(leases.LEASE_SECONDS)
        if not process.claim_abandoned(4, ()):
            break
        if attempt == 2:  # a new clip shows that it is worth it
            process.beat("job", RUNNING)
    assert attempt == 3 + leases._MOST_RESUMES
    job = _load(directory_store)
    assert job.ended
    assert job.progress.state is ExtractionState.FAILED
    assert "without a new clip" in job.progress.error


def test_a_job_whose_object_is_deleted_stops(directory_store: ObjectStore) -> None:
    owner = JobLeases(StoredJobs(directory_store))
    owner.start("job", "wlasl", CRITERIA)
    directory_store.delete(keys.extraction("job"))
    assert owner.beat("job", RUNNING) is Verdict.STOP


def test_few_ended_jobs_are_kept_and_damaged_objects_are_skipped(
    directory_store: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = StoredJobs(directory_store)
    owner = JobLeases(jobs)
    for number in range(25):
        owner.start(f"{number:02}", "wlasl", CRITERIA)
        owner.end(f"{number:02}", DONE)
    old = _load(directory_store, "24").model_copy(update={"ended": "2001-01-01T00:00:00+00:00"})
    directory_store.put(keys.extraction("old"), old.model_dump_json(by_alias=True).encode())
    directory_store.put(keys.extraction("bad"), b'{"corpus": "x\x00", "started": "now"}')
    directory_store.put(keys.extractions() + "x/y.json", b"{}")
    huge = old.model_copy(update={"progress": ExtractionProgress(total=2**70)})
    directory_store.put(keys.extraction("huge"), huge.model_dump_json(by_alias=True).encode())
    owner.claim_abandoned(4, ())
    left = [keys.extraction_name(info.key) for info in directory_store.list(keys.extractions())]
    assert len([name for name in left if name.isdigit()]) == 20
    assert "old" not in left
    assert {"bad", "huge"} <= set(left)
    assert len(caplog.records) == 3


def test_the_store_does_not_have_the_id() -> None:
    assert "0123" not in job_name("0123")
    assert job_name("0123") != job_name("0124")
    assert keys.is_name(job_name("x" * 1000))


def test_a_count_that_a_message_can_hold_and_no_corpus_reaches_is_stored(directory_store: ObjectStore) -> None:
    largest = 2**32 - 1
    JobLeases(StoredJobs(directory_store)).start("job", "wlasl", SelectionCriteria(largest, largest))
    assert _load(directory_store).criteria == SelectionCriteria(MAX_COUNT, MAX_COUNT)
