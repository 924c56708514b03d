//! RULES: the document of the parse graph, for the host.

use super::table::Section;
use super::{ImageError, RULES_MAX};

/// Text is all that is asked of the rules here: what they mean is the reader's matter, and the file's hashes say that they are the ones
/// that the builder put in.
pub(super) fn read(section: &Section<'_>) -> Result<String, ImageError> {
    let refuse = |why| Err(ImageError::Rules { why });
    if section.bytes.is_empty() {
        return refuse("there are none");
    }
    if section.bytes.len() > RULES_MAX {
        return refuse("more than 256 KiB");
    }
    match std::str::from_utf8(section.bytes) {
        // JSON has none, and a terminal that shows the rules may obey them.
        Ok(text) if text.contains(is_unprintable) => refuse("a control character"),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => refuse("not UTF-8"),
    }
}

pub(super) fn is_unprintable(sign: char) -> bool {
    sign.is_control() && !matches!(sign, '\t' | '\n' | '\r')
}
