"""Why an address gives no clip: the reasons, and whether another attempt can help."""

from dataclasses import dataclass

from signet.errors import SignetError


@dataclass(frozen=True)
class FailureKind:
    """A kind of failure.

    Attributes:
        permanent: whether another attempt would give the same; then it is made with --retry-failed only.
        again: whether it is tried again in the same run.
        advice: what it means, and what to do, for people.
    """

    permanent: bool
    again: bool
    advice: str


_LATER = "Run the same command later"
# The reasons of `services.extractor.video.decode.REASONS` are reasons, too: the file came, but is no usable video.
FAILURE_KINDS = {
    "gone": FailureKind(True, False, "the host says that the video does not exist any more"),
    "html": FailureKind(True, False, "the host answers with a web page instead of the video; most of these are gone"),
    "flash": FailureKind(True, False, "a Flash file (.swf), which must be converted by hand to be a video"),
    "no_url": FailureKind(True, False, "the metadata has no address of http, https or YouTube"),
    "redirect": FailureKind(True, False, "the host redirects in a circle, or to an address that is not allowed"),
    "too_large": FailureKind(True, False, "larger, longer or wider than the extractor accepts"),
    "status": FailureKind(True, False, "the host refuses the request"),
    "forbidden": FailureKind(False, False, f"the host asks for a login, or has blocked this address. {_LATER}"),
    "busy": FailureKind(False, True, f"the host asks to wait. {_LATER}"),
    "server_error": FailureKind(False, True, f"the host has a fault. {_LATER}"),
    "interrupted": FailureKind(False, True, f"the connection ended before the video. {_LATER}"),
    "stalled": FailureKind(False, True, f"the host sent nothing, or hardly anything, for a long time. {_LATER}"),
    "no_connection": FailureKind(False, True, f"the host cannot be reached. {_LATER}"),
    "unknown_host": FailureKind(False, True, "the name of the host leads nowhere: it is gone, or you are offline"),
    "certificate": FailureKind(False, False, "the certificate of the host is not valid"),
    "host_down": FailureKind(False, False, f"not tried, because other requests to the host failed. {_LATER}"),
    "needs_fetch": FailureKind(False, False, "a video of YouTube. Install yt-dlp: pip install 'signet[fetch]'"),
    "not_tried": FailureKind(False, False, "not tried yet. Run the same command again"),
    "unchecked": FailureKind(False, False, "a file is present, but was not checked. Run the command without --report"),
    "outside": FailureKind(True, False, "the video came, but does not have the frames of the sign"),
    "crashed": FailureKind(False, False, f"the video came, and the process that checked it ended. {_LATER}"),
    "timeout": FailureKind(False, False, f"the video came, and its check took too long. {_LATER}"),
    "youtube": FailureKind(False, False, "yt-dlp could not get it. A newer yt-dlp may, as YouTube changes often"),
}
# The host has given the video: the fault is here.
CHECK_FAILURES = frozenset({"crashed", "timeout"})
_BROKEN = FailureKind(True, False, "the video came, but it is broken or of a format that is not read")


def kind_of(reason: str) -> FailureKind:
    """The kind of a reason."""
    return FAILURE_KINDS.get(reason, _BROKEN)


class DownloadFailed(SignetError):
    """A video could not be downloaded.

    Attributes:
        reason: one of `FAILURE_KINDS`, or a reason of the check of the video.
        retry_seconds: the time that the host asks to wait; None if it asks for none.
        final_url: the address at the end of the redirects, without secrets; "" if it is not known.
    """

    code = "UNAVAILABLE"

    def __init__(self, reason: str, message: str, *, retry_seconds: float | None = None, final_url: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_seconds = retry_seconds
        self.final_url = final_url


class FetchStopped(SignetError):
    """A download was stopped by the user. It goes on in the next run."""

    code = "UNAVAILABLE"
