//! What is logged how fully: the audit policy (`audit.k8s.io/v1`), read, checked and asked. Pure.
//!
//! `apiserver/pkg/audit/policy` and `pkg/apis/audit/validation` upstream.

use serde::Deserialize;

use crate::auth::User;

/// How much of a request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    None,
    /// Who did what when.
    Metadata,
    /// And the object that was sent.
    Request,
    /// And the object that was answered.
    RequestResponse,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

impl Level {
    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("None", |(name, _)| name)
    }
}

/// When something is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The request is here.
    RequestReceived,
    /// The headers of a long answer are out.
    ResponseStarted,
    /// The answer is out.
    ResponseComplete,
    /// The handler broke.
    Panic,
}

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Stage {
    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        STAGES.iter().find(|(_, stage)| *stage == self).map_or("Panic", |(name, _)| name)
    }
}

/// A policy: the first rule that matches decides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    verdict: Verdict,
    written: WrittenRule,
}

/// What a rule says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How much.
    pub(crate) level: Level,
    /// Not then.
    pub(crate) omitted: Vec<Stage>,
    /// Whether `managedFields` are left out of objects.
    pub(crate) omit_managed_fields: bool,
}

/// A request, as policies see it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Who asked, before impersonation.
    pub(crate) user: Option<&'a User>,
    /// The verb of authorization rules.
    pub(crate) verb: &'a str,
    /// Empty for the core group.
    pub(crate) group: &'a str,
    /// Empty if the request is about a path.
    pub(crate) resource: &'a str,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Empty at the cluster scope.
    pub(crate) namespace: &'a str,
    /// Empty for collections.
    pub(crate) name: &'a str,
    /// The URL's path.
    pub(crate) path: &'a str,
}

impl Policy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, with its field.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if (written.api_version.as_str(), written.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!(
                "no kind {:?} is registered for version {:?}: it has to be kind: Policy of apiVersion: audit.k8s.io/v1",
                written.kind, written.api_version
            ));
        }
        if written.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let mut problems = Vec::new();
        let general = stages(&written.omit_stages, "omitStages", &mut problems);
        let mut rules = Vec::new();
        for (index, rule) in written.rules.into_iter().enumerate() {
            let at = format!("rules[{index}]");
            let level = level(&rule.level, &at, &mut problems);
            check_targets(&rule, &at, &mut problems);
            let mut omitted = stages(&rule.omit_stages, &format!("{at}.omitStages"), &mut problems);
            omitted.extend(general.iter().filter(|stage| !omitted.contains(stage)).copied().collect::<Vec<_>>());
            let omit_managed_fields = rule.omit_managed_fields.unwrap_or(written.omit_managed_fields);
            rules.push(Rule { verdict: Verdict { level, omitted, omit_managed_fields }, written: rule });
        }
        if problems.is_empty() { Ok(Self { rules }) } else { Err(problems.join(", ")) }
    }

    /// Returns what holds for a request; `None` if it is not logged.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Option<&Verdict> {
        let rule = self.rules.iter().find(|rule| rule.written.matches(asked))?;
        (rule.verdict.level != Level::None).then_some(&rule.verdict)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
    #[serde(default)]
    rules: Vec<WrittenRule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

fn level(name: &str, at: &str, problems: &mut Vec<String>) -> Level {
    if let Some((_, level)) = LEVELS.iter().find(|(known, _)| *known == name) {
        return *level;
    }
    problems.push(match name {
        "" => format!("{at}.level: Required value"),
        _ => format!(
            "{at}.level: Unsupported value: {name:?}: supported values: {}",
            supported(LEVELS.map(|(name, _)| name))
        ),
    });
    Level::None
}

fn stages(names: &[String], at: &str, problems: &mut Vec<String>) -> Vec<Stage> {
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match STAGES.iter().find(|(known, _)| known == name) {
            Some((_, stage)) => found.push(*stage),
            None => problems.push(format!(
                "{at}[{index}]: Unsupported value: {name:?}: supported values: {}",
                supported(STAGES.map(|(name, _)| name))
            )),
        }
    }
    found
}

fn supported(mut names: [&str; 4]) -> String {
    names.sort_unstable();
    names.map(|name| format!("{name:?}")).join(", ")
}

fn check_targets(rule: &WrittenRule, at: &str, problems: &mut Vec<String>) {
    for (index, url) in rule.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let at = format!("{at}.nonResourceURLs[{index}]: Invalid value: {url:?}");
        if !url.starts_with('/') {
            problems.push(format!("{at}: non-resource URL rules must begin with a '/' character"));
        }
        if url.find('*').is_some_and(|star| star + 1 < url.len()) {
            problems.push(format!("{at}: non-resource URL wildcards '*' must be the final character of the rule"));
        }
    }
    for (index, resources) in rule.resources.iter().enumerate() {
        let at = format!("{at}.resources[{index}]");
        if !resources.group.is_empty() && !is_subdomain(&resources.group) {
            problems.push(format!(
                "{at}.group: Invalid value: {:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                 characters, '-' or '.', and must start and end with an alphanumeric character",
                resources.group
            ));
        }
        if !resources.resource_names.is_empty() && resources.resources.is_empty() {
            problems.push(format!(
                "{at}.resourceNames: Invalid value: {:?}: using resourceNames requires at least one resource",
                resources.resource_names
            ));
        }
    }
    let has_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if has_resources && !rule.non_resource_urls.is_empty() {
        problems.push(format!(
            "{at}.nonResourceURLs: Invalid value: {:?}: rules cannot apply to both regular resources and non-resource URLs",
            rule.non_resource_urls
        ));
    }
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| plain(byte) || byte == b'-')
            && label.bytes().next().is_some_and(plain)
            && label.bytes().next_back().is_some_and(plain)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl WrittenRule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let is_who = self.users.is_empty() || asked.user.is_some_and(|user| self.users.contains(&user.name));
        let is_group = self.user_groups.is_empty()
            || asked.user.is_some_and(|user| self.user_groups.iter().any(|group| user.is_in(group)));
        is_who && is_group && has_or_none(&self.verbs, asked.verb) && self.is_target(asked)
    }

    fn is_target(&self, asked: &Asked<'_>) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return !asked.resource.is_empty()
                && has_or_none(&self.namespaces, asked.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(asked)));
        }
        if !self.non_resource_urls.is_empty() {
            let is_path = |url: &String| match url.strip_suffix('*') {
                Some(prefix) => asked.path.starts_with(prefix),
                None => asked.path == url,
            };
            return asked.resource.is_empty() && self.non_resource_urls.iter().any(is_path);
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        self.group == asked.group
            && (self.resources.is_empty()
                || (has_or_none(&self.resource_names, asked.name)
                    && self.resources.iter().any(|wanted| is_resource(wanted, asked))))
    }
}

/// `pods` is the object itself, `pods/log` a subresource, `pods/*` both, `*/scale` any object's, `*` everything.
fn is_resource(wanted: &str, asked: &Asked<'_>) -> bool {
    match wanted.split_once('/') {
        None => wanted == "*" || (asked.subresource.is_empty() && wanted == asked.resource),
        Some((resource, "*")) => resource == asked.resource,
        Some(("*", subresource)) => !asked.subresource.is_empty() && subresource == asked.subresource,
        Some((resource, subresource)) => resource == asked.resource && subresource == asked.subresource,
    }
}

fn has_or_none(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == wanted)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
