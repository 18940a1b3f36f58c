"""Where the tier's files lie: a folder, or object storage that speaks S3.

pyarrow is imported when a storage is opened and not before: a process without a tier does not pay for it.
"""

from typing import Any

__all__ = ["STORAGE_FAILURES", "Storage", "open_storage"]

STORAGE_FAILURES = (OSError,)
"""Whatever reading, writing and removing files may end by; pyarrow's own errors are among them."""


class Storage:
    """A folder of files, by paths below it.

    Attributes:
        filesystem: pyarrow's.
    """

    def __init__(self, filesystem: Any, base: str) -> None:
        self.filesystem = filesystem
        self._base = base.rstrip("/")

    def path(self, name: str) -> str:
        """Return a file's path as the filesystem knows it."""
        return f"{self._base}/{name}"

    def create(self, name: str) -> Any:
        """Open a new file to write; on object storage it is there once it is closed.

        Raises:
            STORAGE_FAILURES: it cannot be had.
        """
        path = self.path(name)
        if self.filesystem.type_name == "local":
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        return self.filesystem.open_output_stream(path)

    def open(self, name: str) -> Any:
        """Open a file to read.

        Raises:
            STORAGE_FAILURES: it is not there, or cannot be had.
        """
        return self.filesystem.open_input_file(self.path(name))

    def size(self, name: str) -> int:
        """Return a file's bytes.

        Raises:
            STORAGE_FAILURES: it is not there, or cannot be had.
        """
        size = self.filesystem.get_file_info(self.path(name)).size
        if size is None:
            raise FileNotFoundError(name)
        return int(size)

    def remove(self, name: str) -> None:
        """Remove a file, whether it is there or not.

        Raises:
            STORAGE_FAILURES: it cannot be removed.
        """
        path = self.path(name)
        if self.filesystem.get_file_info(path).is_file:
            self.filesystem.delete_file(path)


def open_storage(location: str) -> Storage:
    """Return the storage of `MILLRACE_TIER_LOCATION`; nothing is asked of it yet."""
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    filesystem, base = FileSystem.from_uri(location)
    return Storage(filesystem, base)
