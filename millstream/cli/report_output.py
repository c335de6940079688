"""Output of a report: tables or JSON, and the files of `--png` and `--html`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from millstream.cli.shared_options import UsageError, print_json, print_table

if TYPE_CHECKING:
    from millstream.evaluation.report import Shown


@Parameter(name="*", group="Files")
@dataclass(frozen=True)
class ReportFiles:
    """Files to write a report to."""

    png: Path | None = None
    """File for a picture of the curves; needs the extra `plot`."""

    html: Path | None = None
    """File for a page with tables and curves."""

    def outputs(self, *inputs: str) -> dict[str, Path]:
        """Return the files to write, by the name of their form; reports what is wrong before anything is computed.

        Parameters
        ----------
        inputs
            What is read, which must not be overwritten.

        Raises
        ------
        UsageError
            If a file is certain not to be written.
        NoLibrary
            If a picture is wanted and matplotlib is missing.
        """
        from millstream.evaluation.output_file import NotWritten, require_place

        outputs = {form: path for form, path in (("png", self.png), ("html", self.html)) if path is not None}
        if self.png is not None and self.html is not None and self.png.resolve() == self.html.resolve():
            raise UsageError(f"--png and --html both name {self.png}: give each its own file")
        for form, path in outputs.items():
            try:
                require_place(f"--{form}", path, inputs)
            except NotWritten as error:
                raise UsageError(str(error)) from error
        if self.png is not None:
            from millstream.evaluation.chart import require_library

            require_library()
        return outputs


NO_FILES = ReportFiles()


def show(report: Shown, outputs: dict[str, Path], *, as_json: bool) -> None:
    """Write the files and print the report. Raises NotWritten after that if a file cannot be written."""
    written = _write(report, outputs)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    # A file that fails must not take the result with it.
    for path, failure in written:
        if failure is not None:
            raise failure
        if not as_json:
            print(f"wrote {path}")


def _write(report: Shown, outputs: dict[str, Path]) -> list[tuple[Path, Exception | None]]:
    """Write the files; return each with the reason why it could not be written."""
    from millstream.evaluation.output_file import NotWritten

    results: list[tuple[Path, Exception | None]] = []
    for form, path in outputs.items():
        try:
            report.png(path) if form == "png" else report.html(path)
        except NotWritten as error:
            results.append((path, error))
        else:
            results.append((path, None))
    return results


def _print(report: Shown) -> None:
    said = report.words()
    print(said.heading)
    for block in said.tables:
        print_table(block.columns, block.rows, block.title)
    for line in (*said.verdicts, *said.remarks):
        print(line)
