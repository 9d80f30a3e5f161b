//! Whether a picture is one that every program shows: well-formed, and nothing in it leads out of it.

/// What would be fetched, or run.
const OUTSIDE: [&str; 8] = ["<script", "<image", "<use", "<foreignObject", "href", "url(", "@import", "<!"];

/// The first thing that is wrong with it.
pub fn check(picture: &str) -> Result<(), String> {
    if !picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") {
        return Err("it does not begin as a picture".to_owned());
    }
    if let Some(outside) = OUTSIDE.iter().find(|outside| picture.contains(**outside)) {
        return Err(format!("{outside} leads out of it"));
    }
    well_formed(picture)
}

/// Every element is closed in its order, every attribute quoted, every `&` the beginning of an entity.
fn well_formed(text: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.trim();
    while let Some((before, after)) = rest.split_once('<') {
        entities(before)?;
        let (tag, behind) = after.split_once('>').ok_or("a tag is not closed")?;
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            let begun = open.pop();
            if begun != Some(name) {
                return Err(format!("{name} closes {begun:?}"));
            }
            if open.is_empty() && !rest.is_empty() {
                return Err("something comes after the picture".to_owned());
            }
            continue;
        }
        entities(tag)?;
        let inner = tag.strip_suffix('/').unwrap_or(tag);
        let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
        attributes_of(attributes)?;
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are not closed")) }
}

fn attributes_of(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let wrong = || format!("attributes: {rest:.60}");
        let (name, value) = rest.split_once("=\"").ok_or_else(wrong)?;
        let (_, behind) = value.split_once('"').ok_or_else(wrong)?;
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
            return Err(wrong());
        }
        rest = behind.trim_start();
    }
    Ok(())
}

fn entities(text: &str) -> Result<(), String> {
    for after in text.split('&').skip(1) {
        let is_entity = |name: &str| name.starts_with('#') || ["lt", "gt", "amp", "quot", "apos"].contains(&name);
        if !after.split_once(';').is_some_and(|(name, _)| is_entity(name)) {
            return Err(format!("& begins no entity: {after:.20}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_would_stumble_over_is_found() {
        let inside = |inner: &str| format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\">{inner}</svg>\n");
        for good in ["", "<g><text x=\"1\" y=\"2\">a &#38; &lt;b</text></g>", "<rect width=\"1\"/>"] {
            assert_eq!(check(&inside(good)), Ok(()), "{good}");
        }
        for bad in [
            "<g>",
            "</g>",
            "<g><text></g></text>",
            "<text>a & b</text>",
            "<text>&nbsp;</text>",
            "<rect width=1/>",
            "<rect width=\"1/>",
            "<a href=\"https://example.com\">x</a>",
            "<script>x</script>",
            "<style>@import 'x';</style>",
            "</svg><svg>",
        ] {
            assert!(check(&inside(bad)).is_err(), "{bad}");
        }
        assert!(check("<html></html>").is_err());
    }
}
