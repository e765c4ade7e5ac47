"""Studies with people: a recipe and items become one page that works from the disk, its CSV files become figures.

    tdmm eval study page eval/studies/l2m_user.yaml ITEMS.jsonl -o OUT
    tdmm eval study read OUT raters/*.csv
"""

from tdmm_lm.eval.studies.commands import make, report
from tdmm_lm.eval.studies.form import Axis, Checks, Item, Key, Shown, Study, items
from tdmm_lm.eval.studies.making import Made, page
from tdmm_lm.eval.studies.reading import Answer, Answers, read
from tdmm_lm.eval.studies.summing import summarise
from tdmm_lm.eval.studies.telling import summary

__all__ = [
    "Answer", "Answers", "Axis", "Checks", "Item", "Key", "Made", "Shown", "Study",
    "items", "make", "page", "read", "report", "summarise", "summary",
]
