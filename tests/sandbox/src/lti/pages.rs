//! What a person sees at the platform.

use super::{FlaggedStudent, LtiPlatformConfig, Shared, lock};

/// HTML text and attribute values.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>{body}</body></html>"
    )
}

/// Students and their flags.
pub(super) fn students(shared: &Shared) -> String {
    let config: LtiPlatformConfig = lock(&shared.config).clone();
    let items: Vec<String> = config.students.iter().map(student).collect();
    let body = format!("<h1>Students</h1><p>Signed in as {}</p><ul>{}</ul>", escape(&config.user.name), items.concat());
    page("Students", &body)
}

fn student(student: &FlaggedStudent) -> String {
    let flags: Vec<String> = student.flags.iter().map(|program| flag(&student.id, program)).collect();
    format!("<li>{} {}</li>", escape(&student.name), flags.concat())
}

fn flag(student: &str, program: &str) -> String {
    let pairs = [("student", student), ("program", program)];
    let query = escape(&url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish());
    let program = escape(program);
    format!("<a href=\"/flag?{query}\">&#9873; {program}</a> (<a href=\"/framed?{query}\">in this page</a>) ")
}

/// A page with the launch in a frame of it.
pub(super) fn framed(query: &str) -> String {
    let body = format!(
        "<h1>Student</h1><iframe id=\"tool\" title=\"Document\" width=\"900\" height=\"600\" src=\"/flag?{}\"></iframe>",
        escape(query)
    );
    page("Student", &body)
}

/// A form that posts itself.
pub(super) fn posting(action: &str, fields: &[(&'static str, String)]) -> String {
    let input = |(name, value): &(&'static str, String)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
    };
    let inputs = fields.iter().map(input).collect::<Vec<_>>().concat();
    let body = format!(
        "<form id=\"go\" method=\"post\" action=\"{}\">{inputs}<button>Go on</button></form>\
         <script>document.getElementById('go').submit()</script>",
        escape(action)
    );
    page("One moment", &body)
}
