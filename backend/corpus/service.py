"""The corpus as pages and commands see it; the work is in the modules beside this one."""

from collections.abc import Callable, Mapping
from pathlib import Path

from backend.corpus import browse, export, importing, seed, unpublished
from backend.corpus.importing import ImportRefused
from backend.corpus.records import DatasetInfo, ExportReport, Facets, FilePreview, ImportReport, PromptPage
from backend.db.engine import Database

__all__ = ["CorpusService", "ImportRefused"]

ProgressCallback = Callable[[float, str], None]


class CorpusService:
    """Imports, exports and looks at prompts, greetings, pairs and labels. Data sets go by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def import_file(
        self,
        path: str | Path,
        *,
        dataset: str | None = None,
        kind: str | None = None,
        skip_bad: bool = False,
        mapping: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> ImportReport:
        """Store a file's rows, all or (with `skip_bad`) the good ones. Raises ImportRefused, with a report.

        Nobody sees a row before the last one is stored, and others store theirs meanwhile.
        `mapping` says which column holds which field (prompt, response, label, chosen, rejected, …).
        `progress` is called with the share done and one sentence in English.
        """
        import_request = importing.ImportRequest(Path(path), dataset, kind, skip_bad, dict(mapping or {}))
        return importing.import_file(self._database, import_request, progress)

    def remove_left_over(self) -> int:
        """Remove the rows, seen by nobody, of imports that were cut off; how many there were."""
        return unpublished.remove_abandoned(self._database)

    def preview(self, path: str | Path, *, kind: str | None = None) -> FilePreview:
        """The first rows of a file and the kind it would be taken for. Raises UserError if unreadable."""
        return importing.preview_file(Path(path), kind)

    def export(
        self,
        content: str,
        format_name: str,
        path: str | Path,
        *,
        dataset: str | None = None,
        campaign: str | None = None,
        panel: bool = False,
    ) -> ExportReport:
        """Write "pairs" or "labels" as "trl", "sharegpt", "csv" or "parquet".

        A path with a suffix becomes one file, one without a folder with a file a split. Without
        `dataset` and `campaign` everything is written, else only what those hold. Everything leaves out pairs
        that only a judge labelled, unless `panel` asks for them; `dropped` counts them.
        """
        export_request = export.ExportRequest(content, format_name, Path(path), dataset, campaign, panel)
        with self._database.read() as session:
            return export.run_export(session, export_request)

    def load_seed(self, folder: Path = seed.SEED_FOLDER) -> ImportReport | None:
        """Bring the seed corpus in as data set "seed"; None when nothing was to do."""
        return seed.load_seed(self._database, folder)

    def datasets(self) -> list[DatasetInfo]:
        """Every data set, the newest first."""
        with self._database.read() as session:
            return browse.list_datasets(session)

    def facets(self, dataset: str | None = None) -> Facets:
        """Tags of the prompts (of one data set)."""
        with self._database.read() as session:
            return browse.count_tags(session, dataset)

    def counts(self) -> dict[str, int]:
        """How many prompts, greetings, pairs, data sets, labels, comparisons and verdicts there are."""
        with self._database.read() as session:
            return browse.count_records(session)

    def browse(
        self,
        dataset: str | None = None,
        occasion: str | None = None,
        recipient: str | None = None,
        style: str | None = None,
        search: str = "",
        page: int = 0,
        size: int = 50,
    ) -> PromptPage:
        """One page of prompts with their greetings; `search` looks into both."""
        corpus_filter = browse.CorpusFilter(dataset, occasion, recipient, style, search)
        with self._database.read() as session:
            return browse.browse(session, corpus_filter, page, size)
