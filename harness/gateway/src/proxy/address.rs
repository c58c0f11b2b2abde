//! Where a path of an agent's goes at an upstream. Agents and base URLs differ in who says the version, and some services have
//! the model in the address.

/// Segments of a base URL after which a version of the agent's is one too many.
const VERSIONED: &[&str] =
    &["v1", "v1beta", "v1beta1", "v1alpha", "v2", "v3", "v4", "deployments", "publishers"];

/// The upstream's address of a path. In the base URL `{model}` is the model, and a query of its own, such as an `api-version`,
/// comes before the agent's.
pub(super) fn joined(base_url: &str, path: &str, model: &str) -> String {
    let base_url = base_url.replace("{model}", &escaped(model));
    let (base, own_query) =
        base_url.split_once('?').map_or((base_url.as_str(), None), |(base, query)| (base, Some(query)));
    let base = base.trim_end_matches('/');
    let (mut path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    // A bare host gets the version that the agent says.
    let has_version = base.split('/').skip(3).any(|segment| VERSIONED.contains(&segment));
    if has_version {
        for version in ["/v1", "/v1beta", "/v1alpha"] {
            if let Some(rest) = path.strip_prefix(version)
                && rest.starts_with('/')
            {
                path = rest;
                break;
            }
        }
    }
    let query: Vec<&str> = own_query.into_iter().chain(query).filter(|query| !query.is_empty()).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{base}{path}{mark}{}", query.join("&"))
}

/// A model's name as one segment of a path.
fn escaped(model: &str) -> String {
    model
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn joined_has_one_version_and_keeps_what_a_service_has_in_its_address() {
        for (base, path, address) in [
            ("https://api.openai.com/v1", "/v1/responses", "https://api.openai.com/v1/responses"),
            ("https://api.openai.com/v1/", "/responses", "https://api.openai.com/v1/responses"),
            (
                "https://api.anthropic.com",
                "/v1/messages?beta=true",
                "https://api.anthropic.com/v1/messages?beta=true",
            ),
            (
                "https://generativelanguage.googleapis.com",
                "/v1beta/models/m:generateContent",
                "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
            ),
            ("http://localhost:8000/v1", "/v1/chat/completions", "http://localhost:8000/v1/chat/completions"),
            (
                "http://localhost:8000/proxy",
                "/v1/chat/completions",
                "http://localhost:8000/proxy/v1/chat/completions",
            ),
            // Azure, new and old.
            (
                "https://x.openai.azure.com/openai/v1?api-version=preview",
                "/v1/responses",
                "https://x.openai.azure.com/openai/v1/responses?api-version=preview",
            ),
            (
                "https://x.openai.azure.com/openai/deployments/{model}?api-version=2024-10-21",
                "/v1/chat/completions?a=b",
                "https://x.openai.azure.com/openai/deployments/gpt%2F5/chat/completions?api-version=2024-10-21&a=b",
            ),
            // Bedrock's OpenAI-compatible paths.
            (
                "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1",
                "/v1/chat/completions",
                "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions",
            ),
            // Vertex.
            (
                "https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google",
                "/v1beta/models/m:streamGenerateContent?alt=sse",
                "https://l-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse",
            ),
        ] {
            assert_eq!(joined(base, path, "gpt/5"), address);
        }
    }
}
