//! Claims about the settings, and what is refused.

use std::io::Write as _;

use super::*;

const EXAMPLE: &str = include_str!("../../tokenkeep.example.toml");

fn read(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut temporary = tempfile::NamedTempFile::new().unwrap();
    temporary.write_all(file.as_bytes()).unwrap();
    let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::read(Some(temporary.path()), env)
}

#[track_caller]
fn refused(file: &str, env: &[(&str, &str)], parts: &[&str]) {
    let base = "[auth_server]\nbase_url = \"https://auth.example\"\n";
    let file =
        if file.contains("[auth_server]") { file.to_owned() } else { format!("{file}\n{base}") };
    let error = read(&file, env).and_then(|config| config.check()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

fn uncommented(example: &str, mark: &str) -> String {
    let lines = example.lines().map(|line| match line.strip_prefix(mark) {
        Some(rest) if !rest.starts_with([' ', ':']) && !rest.is_empty() => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let example: toml::Table = toml::from_str(&uncommented(EXAMPLE, "#")).unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for (section, keys) in &defaults {
        for (key, default) in keys.as_table().unwrap() {
            let shown = example.get(section).and_then(|section| section.get(key));
            assert_eq!(shown, Some(default), "{section}.{key} in the example");
        }
    }
    assert_eq!(example, defaults, "the example has a key that is none");
}

#[test]
fn the_example_is_understood_with_and_without_its_comments() {
    for text in [EXAMPLE.to_owned(), uncommented(EXAMPLE, "#"), uncommented(EXAMPLE, "#:")] {
        let mut config = read(&text, &[]).unwrap();
        config.auth_server.base_url = Some("https://auth.example".into());
        config.check().unwrap();
    }
    let config = read(&uncommented(EXAMPLE, "#:"), &[]).unwrap();
    assert_eq!(config.proxy.len(), 1);
    assert!(config.proxy[0].strip_prefix);
}

#[test]
fn the_environment_goes_above_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\nbody_bytes = 2048\n";
    let config = read(
        file,
        &[
            ("TOKENKEEP_SERVER__LISTEN", "127.0.0.1:2"),
            ("TOKENKEEP_SERVER__PUBLIC_ORIGINS", "https://a.example, https://b.example"),
            ("TOKENKEEP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, unix"),
            ("TOKENKEEP_GATEWAY__KEPT_BYTES", "1MiB"),
            ("TOKENKEEP_LIMITS__IN_FLIGHT", "7"),
            ("TOKENKEEP_AUTH_SERVER__ACCESS_LIFETIME", "5m"),
            ("TOKENKEEP_AUTH_SERVER__REFUSED_STATUSES", "[400, 401]"),
            ("TOKENKEEP_AUTH_SERVER__USERNAME_FIELD", "123"),
            ("TOKENKEEP_SESSION__ABSOLUTE", "30d"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.server.public_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.gateway.kept_bytes, 1 << 20);
    assert_eq!((config.limits.in_flight, config.limits.body_bytes), (7, 2048));
    assert_eq!(config.auth_server.access_lifetime.as_secs(), 300);
    assert_eq!(config.auth_server.refused_statuses, [400, 401]);
    assert_eq!(config.auth_server.username_field, "123");
    assert_eq!(config.session.absolute.unwrap().as_secs(), 30 * 86_400);
}

#[test]
fn an_unknown_name_is_refused_where_it_stands() {
    refused("[server]\n\nlisten_on = \"x\"\n", &[], &["line 3", "listen_on", "`listen`"]);
    refused("[sever]\nlisten = \"x\"\n", &[], &["line 1", "sever", "`server`"]);
    refused("[server]\nlisten = \n", &[], &["line 2"]);
    refused("[server]\nlisten = \"nowhere\"\n", &[], &["line 2", "socket address"]);
    refused("[limits]\nidle = \"75\"\n", &[], &["line 2", "\"10s\""]);
    let env = |name: &'static str| refused("", &[(name, "1")], &[name]);
    env("TOKENKEEP_LISTEN");
    env("TOKENKEEP_SERVER__LISTEN_ON");
    env("TOKENKEEP_SERVER__LISTEN");
    env("TOKENKEEP_PROXY__PREFIX");
    env("TOKENKEEP_SEVER__LISTEN");
    env("TOKENKEEP_SERVICE__LISTEN");
    env("TOKENKEEP_PORTS__X");
}

#[test]
fn what_an_orchestrator_sets_is_no_setting() {
    for name in
        ["TOKENKEEP_PORT", "TOKENKEEP_PORT_8480_TCP", "TOKENKEEP_SERVICE_HOST", "TOKENKEEP_CONFIG"]
    {
        assert!(read("", &[(name, "tcp://10.0.0.1:8480")]).is_ok(), "{name}");
    }
}

#[test]
fn the_line_itself_is_never_repeated() {
    let error = read("[store]\nkey_ring = \"canary\"\n", &[]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn insecure_combinations_are_refused_with_the_line_to_change() {
    let origins = "server.public_origins";
    for (file, parts) in [
        ("[server]\npublic_origins = [\"http://app.example\"]", &[origins, "line 2", "https"][..]),
        ("[server]\nsame_site = \"none\"", &["server.same_site", "line 2", "lax"]),
        (
            "[server]\nlisten = \"0.0.0.0:80\"\npublic_origins = [\"http://localhost:8080\"]",
            &[origins, "line 3", "127.0.0.1"],
        ),
        (
            "[server]\nlisten = \"systemd\"\npublic_origins = [\"http://localhost:8080\"]",
            &[origins, "line 3", "127.0.0.1"],
        ),
        (
            "[server]\npublic_origins = [\"http://localhost\"]\n[server.tls]\ncertificate = \"c\"\nkey = \"k\"",
            &[origins, "server.tls"],
        ),
        ("[server]\npublic_origins = [\"https://a.example\", \"http://localhost\"]", &[origins]),
        ("[server]\npublic_origins = [\"https://a.example/\"]", &[origins]),
        ("[server]\npublic_origins = [\"https://u@a.example\"]", &[origins]),
        ("[server]\npublic_origins = [\"https://A.example\"]", &[origins]),
        ("[server]\npublic_origins = [\"null\"]", &[origins]),
        ("[server]\npublic_origins = [\"https://a.example:443\"]", &[origins]),
        ("[server]\npublic_origins = [\"https://a.example:99999\"]", &[origins]),
        ("[server]\npublic_origins = [\"*\"]", &[origins]),
    ] {
        refused(file, &[], parts);
    }
    let env = [("TOKENKEEP_SERVER__SAME_SITE", "none")];
    refused("", &env, &["environment variable TOKENKEEP_SERVER__SAME_SITE"]);
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (file, key) in [
        ("[server]\nlogin_page = \"//evil.example\"", "server.login_page"),
        ("[server]\nlogin_page = \"http://evil.example/login\"", "server.login_page"),
        ("[server]\nadmin_listen = \"127.0.0.1:8480\"", "server.admin_listen"),
        ("[server.tls]\ncertificate = \"c.pem\"", "server.tls.key"),
        ("[server.tls]\nkey = \"k.pem\"", "server.tls.certificate"),
        ("[store.redis]\nnodes = [\"redis://a\"]", "store.redis.nodes"),
        ("[store.redis]\ncluster = true\nnodes = [\"redis://u:p@a\"]", "store.redis.nodes"),
        ("[store.redis]\nsentinel_username = \"u\"", "store.redis.sentinel_password_file"),
        ("[server]\nunix_mode = \"0999\"", "0660"),
        ("[server]\ntrusted_proxies = [\"10.0.0.0/33\"]", "10.0.0.0/8"),
        ("[limits]\nstall = \"0s\"", "limits.stall"),
        ("[limits]\ngateway_streams = 0", "limits.gateway_streams"),
        ("[limits]\nconnections_per_address = 0", "limits.connections_per_address"),
        ("[limits]\nidle = \"0s\"", "limits.idle"),
        ("[limits]\nbody_bytes = 0", "limits.body_bytes"),
        ("[limits]\nlogins_per_email = 0", "limits.logins_per_email"),
        ("[auth_server]\n", "auth_server.base_url"),
        ("[auth_server]\nbase_url = \"ftp://a\"", "auth_server.base_url"),
        ("[auth_server]\nbase_url = \"http://u:canary@a\"", "auth_server.base_url"),
        ("[auth_server]\nbase_url = \"http://a:99999\"", "auth_server.base_url"),
        ("[auth_server]\nbase_url = \"http://a?x=1\"", "auth_server.base_url"),
        ("[auth_server]\nbase_url = \"http://a\"\nca_file = \"ca.pem\"", "auth_server.ca_file"),
        (
            "[auth_server]\nbase_url = \"http://a\"\nlogin_path = \"login\"",
            "auth_server.login_path",
        ),
        ("[auth_server]\nbase_url = \"http://a\"\naccess_lifetime = \"2d\"", "access_lifetime"),
        ("[auth_server]\nbase_url = \"http://a\"\nconnect = \"1m\"", "auth_server.connect"),
        ("[auth_server]\nbase_url = \"http://a\"\nrefused_statuses = [429]", "refused_statuses"),
        ("[store]\ngarbage_share = 0", "store.garbage_share"),
        ("[session]\nidle = \"30s\"", "session.idle"),
        ("[log]\nlevel = \"info,=x=y\"", "log.level"),
        ("[[proxy]]\nprefix = \"api\"\nupstream = \"http://a\"", "proxy.prefix"),
        ("[[proxy]]\nprefix = \"/a/../v1\"\nupstream = \"http://a\"", "proxy.prefix"),
        ("[[proxy]]\nprefix = \"/v1/x\"\nupstream = \"http://a\"", "proxy.prefix"),
        ("[[proxy]]\nprefix = \"/api_v1\"\nupstream = \"http://a\"", "proxy.prefix"),
        ("[[proxy]]\nprefix = \"/api\"", "proxy.upstream"),
        (
            "[[proxy]]\nprefix = \"/a\"\nupstream = \"http://a\"\n[[proxy]]\nprefix = \"/a\"\nupstream = \"http://b\"",
            "proxy.prefix",
        ),
    ] {
        refused(file, &[], &[key]);
    }
}

#[test]
fn the_cookie_has_its_plain_shape_on_loopback_only() {
    for (file, shape) in [
        ("", CookieShape::Loopback),
        ("[server]\nlisten = \"[::1]:80\"", CookieShape::Loopback),
        ("[server]\npublic_origins = [\"http://localhost:8480\"]", CookieShape::Loopback),
        ("[server]\npublic_origins = [\"https://app.example\"]", CookieShape::Secure),
        ("[server]\nlisten = \"0.0.0.0:80\"", CookieShape::Secure),
        ("[server]\nlisten = \"systemd\"", CookieShape::Secure),
        ("[server]\nlisten = \"unix:/t.sock\"", CookieShape::Secure),
        (
            "[server]\nlisten = \"unix:/t.sock\"\npublic_origins = [\"http://localhost\"]",
            CookieShape::Loopback,
        ),
        ("[server.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"", CookieShape::Secure),
    ] {
        assert_eq!(read(file, &[]).unwrap().server.cookie_shape(), shape, "{file}");
    }
}

#[test]
fn the_original_names_fill_the_gaps() {
    let env = [
        ("BASE_URL", "http://127.0.0.1:8000"),
        ("ACCESS_TOKEN_LIFETIME", "3"),
        ("REFRESH_TOKEN_LIFETIME", "60"),
        ("INTERNAL_FASTAPI_PORT", "9001"),
        ("AUTH_DB_STACK", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "canary"),
    ];
    let config = read("[auth_server]\naccess_lifetime = \"10s\"", &env).unwrap();
    assert_eq!(config.auth_server.base_url.as_deref(), Some("http://127.0.0.1:8000"));
    assert_eq!(config.auth_server.access_lifetime.as_secs(), 10, "the file goes above");
    assert_eq!(config.auth_server.refresh_lifetime.as_secs(), 3600);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9001");
    assert_eq!(config.store.kind, StoreKind::Redis);
    assert_eq!(config.store.redis.url, "redis://localhost:6380");
    assert_eq!(config.store.redis.password, Some(PasswordText::new("canary".to_owned())));
    let warnings = config.warnings().join("\n");
    for name in ["BASE_URL", "REFRESH_TOKEN_LIFETIME", "AUTH_DB_STACK", "REDIS_PORT"] {
        assert!(warnings.contains(name), "{warnings}");
    }
    assert!(!warnings.contains("canary") && !config.effective().contains("canary"));
    for (name, bad) in [
        ("AUTH_DB_STACK", "mysql"),
        ("ACCESS_TOKEN_LIFETIME", "2m"),
        ("REDIS_HOST", "host/?cluster=true"),
        ("REDIS_PORT", "redis"),
    ] {
        assert!(read("", &[(name, bad)]).unwrap_err().to_string().contains(name));
    }
}

#[test]
fn a_store_is_named_by_sections_and_by_variables() {
    let file =
        "[store]\nkind = \"redis\"\nmove_to = \"sqlite:t.db\"\n\n[store.redis]\nprefix = \"a:\"";
    let env = [("TOKENKEEP_STORE__REDIS__URL", "rediss://redis.example"), ("REDIS_HOST", "other")];
    let config = read(file, &env).unwrap();
    assert_eq!(config.store.redis.url, "rediss://redis.example", "our own name goes above");
    assert_eq!((config.store.redis.prefix.as_str(), config.store.redis.sealing), ("a:", true));
    assert_eq!(config.store.move_to.as_ref().unwrap().to_string(), "sqlite:t.db");
    let env = [("TOKENKEEP_STORE__KIND", "sqlite"), ("TOKENKEEP_STORE__SQLITE__FILE", "/t.db")];
    let config = read("[store]\nkind = \"redis\"", &env).unwrap();
    assert_eq!(config.store.kind, StoreKind::Sqlite);
    assert_eq!(config.store.sqlite_file(), Path::new("/t.db"));
    let unsealed = read("[store]\nkind = \"redis\"\n[store.redis]\nsealing = false", &[]).unwrap();
    assert!(unsealed.warnings().iter().any(|warning| warning.contains("sealing")));
    for (file, key) in [
        ("[store.redis]\nurl = \"redis://:canary@host\"", "store.redis.url"),
        ("[store.redis]\nurl = \"http://host\"", "store.redis.url"),
        ("[store.redis]\nca_file = \"a\"", "store.redis.ca_file"),
        ("[store.redis]\npassword = \"a\"\npassword_file = \"b\"", "store.redis.password_file"),
        ("[store]\nmove_to = \"original+sqlite:a\"", "store.move_to"),
    ] {
        let file = format!("[auth_server]\nbase_url = \"https://a\"\n{file}");
        let error = read(&file, &[]).unwrap().check().unwrap_err().to_string();
        assert!(error.starts_with(key) && !error.contains("canary"), "{error}");
    }
    let error = read("[store]\nmove_to = \"redis://:canary@/\"", &[]).unwrap_err().to_string();
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn the_key_ring_comes_from_the_nearest_place() {
    let credentials = tempfile::tempdir().unwrap();
    let directory = credentials.path().to_str().unwrap();
    let source = |file: &str, env: &[(&str, &str)]| read(file, env).unwrap().key_ring().to_string();
    assert_eq!(source("", &[]), "the file tokenkeep-data/keyring");
    assert_eq!(source("", &[("STATE_DIRECTORY", "/var/lib/a:/b")]), "the file /var/lib/a/keyring");
    let in_credentials = [("CREDENTIALS_DIRECTORY", directory)];
    assert_eq!(source("", &in_credentials), "the file tokenkeep-data/keyring", "there is none");
    std::fs::write(credentials.path().join("keyring"), "x").unwrap();
    assert_eq!(source("", &in_credentials), format!("the file {directory}/keyring"));
    assert_eq!(source("[store]\nkey_ring_file = \"/k\"", &in_credentials), "the file /k");
    assert_eq!(source("", &[("TOKENKEEP_KEY_RING_FILE", "/f")]), "the file /f");
    let text = source("[store]\nkey_ring_file = \"/k\"", &[("TOKENKEEP_KEY_RING", "canary")]);
    assert_eq!(text, "the environment variable TOKENKEEP_KEY_RING");
    let both = [("TOKENKEEP_KEY_RING", "canary"), ("TOKENKEEP_KEY_RING_FILE", "/f")];
    assert!(read("", &both).is_err());
}

#[test]
fn the_effective_settings_can_be_read_again_and_hide_the_ring() {
    let env = [("TOKENKEEP_KEY_RING", "canary"), ("TOKENKEEP_STORE__DURABILITY", "interval 100ms")];
    let proxy = "[[proxy]]\nprefix = \"/api\"\nupstream = \"http://127.0.0.1:9000\"";
    let config = read(proxy, &env).unwrap();
    let shown = config.effective();
    assert!(!shown.contains("canary") && !format!("{config:?}").contains("canary"));
    let again = read(&shown, &[]).unwrap();
    assert_eq!(again.store, config.store);
    assert_eq!(again.proxy, config.proxy);
}
