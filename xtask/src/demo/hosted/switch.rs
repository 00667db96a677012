//! The one line in which an agent behind its own URL differs from one that connects.

use std::{fs, path::Path};

use super::super::{languages::Language, stage::Stage};
use crate::{
    failure::Failure,
    terminal::{Colour, say},
};

/// Writes the example with that line changed, shows both, and says where it is.
pub(super) fn write(stage: &Stage<'_>, language: &Language) -> Result<String, Failure> {
    let (example, switch) = (language.example, &language.switch);
    let text = fs::read_to_string(stage.path(example))
        .map_err(|error| Failure::new(format!("cannot read {example}: {error}")))?;
    let file = Path::new(example).file_name().unwrap_or_default();
    let file = stage.folder.join(file);
    let shown = stage.here.shown(&file);
    let switched = text.replacen(switch.line, switch.hosted, 1);
    if switched == text {
        let text = format!("{example} has not the line that makes it hosted");
        return Err(Failure::new(text).hint(format!("It is to be: {}", switch.line)));
    }
    fs::write(&file, switched)
        .map_err(|error| Failure::new(format!("cannot write {shown}: {error}")))?;
    for (sign, line, colour) in [
        ('-', switch.line, Colour::Refused),
        ('+', switch.hosted, Colour::Good),
    ] {
        say(&stage.screen.paint(colour, &format!("  {sign} {line}")));
    }
    Ok(file.display().to_string())
}
