//! What a SIS answers: the first byte says of which SIS and listing; the rest decodes to fragments that open again, or to an
//! error that has a place and no content.

use rollcall_classifier::{
    decode::decode,
    fragment::{Kind, Page},
};
use rollcall_store::district::SisKind;

/// The target of this name: panics where its promise is broken.
pub fn page(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let sis = if choice & 0x80 == 0 { SisKind::SkywardQmlativ } else { SisKind::OneRoster };
    let kind = Kind::ALL[usize::from(choice & 0x7f) % Kind::ALL.len()];
    match decode(sis, kind.resource(), &[], body) {
        Ok(decoded) => {
            let view = Page::open(&decoded.fragments).expect("fragments open again");
            let mut rows = 0;
            for offset in view.offsets() {
                let _ = view.row(offset).key();
                rows += 1;
            }
            assert!(decoded.claimed_total.is_none_or(|total| total >= 0) && rows <= body.len());
        }
        Err(error) => assert!(error.to_string().len() < 120),
    }
}
