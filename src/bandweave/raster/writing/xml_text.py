"""Names in XML, which has no place for control characters."""

from __future__ import annotations

import re
from xml.sax import saxutils

_NO_XML = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")


def xml_text(text: str) -> str:
    """The text as the content of an element; control characters become `\\x07` and the like.

    >>> print(xml_text("a\\x07 < b"))
    a\\x07 &lt; b
    """
    return saxutils.escape(_escape_controls(text))


def xml_attribute(text: str) -> str:
    """The same as the value of an attribute, with its quotes."""
    return saxutils.quoteattr(_escape_controls(text))


def _escape_controls(text: str) -> str:
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
