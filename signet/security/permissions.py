"""Which permission each method needs."""

from enum import IntEnum


class Permission(IntEnum):
    """What a token permits. A higher permission includes the lower ones."""

    READ = 1  # recognise clips; list and get what is stored; nothing changes
    WRITE = 2  # start and stop trainings and extractions, evaluate, move aliases, delete, import
    ADMIN = 3  # everything, also methods that this table does not have

    @classmethod
    def parse(cls, name: str) -> "Permission":
        """The permission of a name: read, write or admin. Raises `KeyError` for another name."""
        return {one.name.lower(): one for one in cls}[name]

    def __str__(self) -> str:
        """Its name in files and messages."""
        return self.name.lower()


# Health checks need no token: probes and load balancers have none.
OPEN_SERVICES = ("grpc.health.v1.Health",)

READ, WRITE = Permission.READ, Permission.WRITE

# Methods with their permissions. A test compares this table with the protos.
PERMISSIONS = {
    "signet.v1.Recognizer/Recognize": READ,
    "signet.v1.Recognizer/GetServingStatus": READ,
    "signet.v1.Recognizer/RecognizeStream": READ,
    "signet.v1.Recognizer/TranscribeVideo": READ,
    "signet.v1.Evaluation/RunEvaluation": WRITE,
    "signet.v1.Evaluation/GetReport": READ,
    "signet.v1.Evaluation/ListReports": READ,
    # A single clip is answered, and nothing is stored.
    "signet.v1.Extractor/ExtractClip": READ,
    "signet.v1.Extractor/ExtractClipStream": READ,
    "signet.v1.Extractor/ExtractStream": READ,
    "signet.v1.Extractor/StartExtraction": WRITE,
    "signet.v1.Extractor/WatchExtraction": READ,
    "signet.v1.Extractor/CancelExtraction": WRITE,
    "signet.v1.Registry/ListModels": READ,
    "signet.v1.Registry/GetModel": READ,
    "signet.v1.Registry/ListAliases": READ,
    "signet.v1.Registry/GetAlias": READ,
    "signet.v1.Registry/ExportModel": READ,
    "signet.v1.Registry/Promote": WRITE,
    "signet.v1.Registry/Rollback": WRITE,
    "signet.v1.Registry/DeleteAlias": WRITE,
    "signet.v1.Registry/DeleteModel": WRITE,
    "signet.v1.Registry/ImportModel": WRITE,
    "signet.v1.Enrolment/Enroll": WRITE,
    "signet.v1.Enrolment/Forget": WRITE,
    "signet.v1.Trainer/StartRun": WRITE,
    "signet.v1.Trainer/WatchRun": READ,
    "signet.v1.Trainer/StopRun": WRITE,
    "signet.v1.Trainer/ListRuns": READ,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": READ,
}


def needed_permission(method: str) -> Permission | None:
    """The permission that a method ("signet.v1.Trainer/StartRun") needs; None if it needs no token."""
    if method.rpartition("/")[0] in OPEN_SERVICES:
        return None
    return PERMISSIONS.get(method, Permission.ADMIN)
