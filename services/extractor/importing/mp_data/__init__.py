"""MP_Data: the folders of the well-known action-detection tutorial, one .npy file for each frame or recording."""

from services.extractor.importing.mp_data.reader import KIND

__all__ = ["KIND"]
