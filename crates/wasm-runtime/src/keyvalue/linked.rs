//! The functions of `wasi:keyvalue` over buckets.

use std::future::Future;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use super::bucket::{Bucket, BucketError, Change, PAGE};
use crate::ctx::Ctx;

const DRAFT: &str = "0.2.0-draft";
const DRAFT_2: &str = "0.2.0-draft2";

/// The interface's `error`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<BucketError> for Error {
    fn from(error: BucketError) -> Self {
        Self::Other(error.to_string())
    }
}

/// `key-response` of the first draft, whose cursor is a number: how many keys came before.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct NumberedKeys {
    keys: Vec<String>,
    cursor: Option<u64>,
}

/// `key-response` of the second, whose cursor is the last key that came.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct NamedKeys {
    keys: Vec<String>,
    cursor: Option<String>,
}

/// The interface's `cas`: a value as it was seen.
struct Cas {
    bucket: Bucket,
    key: String,
    seen: Option<Vec<u8>>,
}

/// How a swap went: it did not if the value is another by now.
enum Swap {
    Done,
    Changed(Option<Vec<u8>>),
}

/// The interface's `cas-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

type Answer<T> = Result<T, Error>;
type Host<'a> = StoreContextMut<'a, Ctx>;

/// Offers both drafts to components.
pub(crate) fn add_to_components(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    for draft in [DRAFT, DRAFT_2] {
        add_store(&mut linker.instance(&format!("wasi:keyvalue/store@{draft}"))?, draft)?;
        add_atomics(&mut linker.instance(&format!("wasi:keyvalue/atomics@{draft}"))?, draft)?;
        add_batch(&mut linker.instance(&format!("wasi:keyvalue/batch@{draft}"))?, draft)?;
    }
    Ok(())
}

fn add_store(store: &mut LinkerInstance<'_, Ctx>, draft: &str) -> wasmtime::Result<()> {
    store.resource("bucket", ResourceType::host::<Bucket>(), |mut store, handle| {
        store.data_mut().table.delete(Resource::<Bucket>::new_own(handle))?;
        Ok(())
    })?;
    store.func_wrap("open", |mut store: Host<'_>, (name,): (String,)| {
        let ctx = store.data_mut();
        let opened = match ctx.buckets.get(&name) {
            Some(bucket) => Ok(ctx.table.push(bucket.clone())?),
            None if ctx.buckets.is_empty() => Err(Error::AccessDenied),
            None => Err(Error::NoSuchStore),
        };
        Ok((opened,))
    })?;
    store.func_wrap_async("[method]bucket.get", |store: Host<'_>, (bucket, key): (Resource<Bucket>, String)| {
        ask(&store, &bucket, move |bucket| Ok(bucket.get(&[key])?.pop().flatten()))
    })?;
    store.func_wrap_async("[method]bucket.exists", |store: Host<'_>, (bucket, key): (Resource<Bucket>, String)| {
        ask(&store, &bucket, move |bucket| Ok(bucket.get(&[key])?.pop().flatten().is_some()))
    })?;
    store.func_wrap_async(
        "[method]bucket.set",
        |store: Host<'_>, (bucket, key, value): (Resource<Bucket>, String, Vec<u8>)| {
            ask(&store, &bucket, move |bucket| set_all(bucket, vec![(key, value)]))
        },
    )?;
    store.func_wrap_async("[method]bucket.delete", |store: Host<'_>, (bucket, key): (Resource<Bucket>, String)| {
        ask(&store, &bucket, move |bucket| Ok(bucket.edit(&[key], |_, _| Change::Delete)?))
    })?;
    if draft == DRAFT {
        store.func_wrap_async(
            "[method]bucket.list-keys",
            |store: Host<'_>, (bucket, cursor): (Resource<Bucket>, Option<u64>)| {
                ask(&store, &bucket, move |bucket| numbered(bucket, cursor.unwrap_or(0)))
            },
        )
    } else {
        store.func_wrap_async(
            "[method]bucket.list-keys",
            |store: Host<'_>, (bucket, cursor): (Resource<Bucket>, Option<String>)| {
                ask(&store, &bucket, move |bucket| {
                    let keys = bucket.keys(cursor.as_deref())?;
                    let cursor = if keys.len() < PAGE { None } else { keys.last().cloned() };
                    Ok(NamedKeys { keys, cursor })
                })
            },
        )
    }
}

fn add_atomics(atomics: &mut LinkerInstance<'_, Ctx>, draft: &str) -> wasmtime::Result<()> {
    if draft == DRAFT {
        return atomics.func_wrap_async(
            "increment",
            |store: Host<'_>, (bucket, key, delta): (Resource<Bucket>, String, u64)| {
                ask(&store, &bucket, move |bucket| increment(bucket, &key, |before: u64| before.checked_add(delta)))
            },
        );
    }
    atomics.func_wrap_async(
        "increment",
        |store: Host<'_>, (bucket, key, delta): (Resource<Bucket>, String, i64)| {
            ask(&store, &bucket, move |bucket| increment(bucket, &key, |before: i64| before.checked_add(delta)))
        },
    )?;
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut store, handle| {
        store.data_mut().table.delete(Resource::<Cas>::new_own(handle))?;
        Ok(())
    })?;
    atomics.func_wrap_async("[static]cas.new", |mut store: Host<'_>, (bucket, key): (Resource<Bucket>, String)| {
        Box::new(async move {
            let bucket = store.data_mut().table.get(&bucket)?.clone();
            let seen = blocking(bucket.clone(), {
                let key = key.clone();
                move |bucket| Ok(bucket.get(&[key])?.pop().flatten())
            });
            Ok((match seen.await {
                Ok(seen) => Ok(store.data_mut().table.push(Cas { bucket, key, seen })?),
                Err(error) => Err(error),
            },))
        })
    })?;
    atomics.func_wrap("[method]cas.current", |mut store: Host<'_>, (cas,): (Resource<Cas>,)| {
        Ok((Ok::<_, Error>(store.data_mut().table.get(&cas)?.seen.clone()),))
    })?;
    atomics.func_wrap_async("swap", |mut store: Host<'_>, (cas, value): (Resource<Cas>, Vec<u8>)| {
        Box::new(async move {
            let Cas { bucket, key, seen } = store.data_mut().table.delete(cas)?;
            let swapped = blocking(bucket.clone(), {
                let key = key.clone();
                move |bucket| swap(bucket, key, seen.as_deref(), value)
            });
            Ok((match swapped.await {
                Ok(Swap::Done) => Ok(()),
                Ok(Swap::Changed(seen)) => {
                    Err(CasError::Failed(store.data_mut().table.push(Cas { bucket, key, seen })?))
                }
                Err(error) => Err(CasError::Store(error)),
            },))
        })
    })
}

fn add_batch(batch: &mut LinkerInstance<'_, Ctx>, draft: &str) -> wasmtime::Result<()> {
    if draft == DRAFT {
        batch.func_wrap_async("get-many", |store: Host<'_>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            ask(&store, &bucket, move |bucket| {
                let values = bucket.get(&keys)?;
                Ok(keys.into_iter().zip(values).map(|(key, value)| Some((key, value?))).collect::<Vec<_>>())
            })
        })?;
    } else {
        batch.func_wrap_async("get-many", |store: Host<'_>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
            ask(&store, &bucket, move |bucket| {
                let values = bucket.get(&keys)?;
                Ok(keys.into_iter().zip(values).collect::<Vec<_>>())
            })
        })?;
    }
    batch.func_wrap_async(
        "set-many",
        |store: Host<'_>, (bucket, pairs): (Resource<Bucket>, Vec<(String, Vec<u8>)>)| {
            ask(&store, &bucket, move |bucket| set_all(bucket, pairs))
        },
    )?;
    batch.func_wrap_async("delete-many", |store: Host<'_>, (bucket, keys): (Resource<Bucket>, Vec<String>)| {
        ask(&store, &bucket, move |bucket| Ok(bucket.edit(&keys, |_, _| Change::Delete)?))
    })
}

type Asked<'a, T> = Box<dyn Future<Output = wasmtime::Result<(Answer<T>,)>> + Send + 'a>;

/// Asks the bucket behind a handle.
fn ask<T: Send + 'static>(
    store: &Host<'_>,
    bucket: &Resource<Bucket>,
    question: impl FnOnce(&Bucket) -> Answer<T> + Send + 'static,
) -> Asked<'static, T> {
    let bucket = store.data().table.get(bucket).cloned();
    Box::new(async move { Ok((blocking(bucket?, question).await,)) })
}

/// Asks a bucket, away from the guest threads if it waits for a disk.
async fn blocking<T: Send + 'static>(
    bucket: Bucket,
    question: impl FnOnce(&Bucket) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    if !bucket.blocks() {
        return question(&bucket);
    }
    let asked = tokio::task::spawn_blocking(move || question(&bucket)).await;
    asked.unwrap_or_else(|error| Err(Error::Other(error.to_string())))
}

fn set_all(bucket: &Bucket, pairs: Vec<(String, Vec<u8>)>) -> Answer<()> {
    let (keys, mut values): (Vec<String>, Vec<Vec<u8>>) = pairs.into_iter().unzip();
    Ok(bucket.edit(&keys, |index, _| Change::Set(std::mem::take(&mut values[index])))?)
}

fn numbered(bucket: &Bucket, skipped: u64) -> Answer<NumberedKeys> {
    let mut skip = usize::try_from(skipped).unwrap_or(usize::MAX);
    let mut page = bucket.keys(None)?;
    while skip >= PAGE && page.len() == PAGE {
        skip -= PAGE;
        page = bucket.keys(page.last().map(String::as_str))?;
    }
    let is_last = page.len() < PAGE;
    let keys: Vec<String> = page.into_iter().skip(skip).collect();
    let cursor = (!is_last).then(|| skipped + keys.len() as u64);
    Ok(NumberedKeys { keys, cursor })
}

/// Numbers are kept as decimal text, as wasmtime keeps them, so that `get` shows them.
fn increment<N>(bucket: &Bucket, key: &str, add: impl Fn(N) -> Option<N>) -> Answer<N>
where
    N: std::str::FromStr + ToString + Default + Copy,
{
    let mut result = Err(Error::Other("the key is not there".to_owned()));
    bucket.edit(&[key.to_owned()], |_, before| {
        let number = match before {
            None => Some(N::default()),
            Some(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
        };
        result = number
            .ok_or_else(|| Error::Other("the value is not a number".to_owned()))
            .and_then(|number| add(number).ok_or_else(|| Error::Other("the number would be too large".to_owned())));
        match &result {
            Ok(after) => Change::Set(after.to_string().into_bytes()),
            Err(_) => Change::Keep,
        }
    })?;
    result
}

/// Sets the value if it is still the one that was seen; otherwise returns what it is now.
fn swap(bucket: &Bucket, key: String, seen: Option<&[u8]>, value: Vec<u8>) -> Answer<Swap> {
    let (mut swap, mut value) = (Swap::Done, Some(value));
    bucket.edit(&[key], |_, current| {
        if current == seen {
            return value.take().map_or(Change::Keep, Change::Set);
        }
        swap = Swap::Changed(current.map(<[u8]>::to_vec));
        Change::Keep
    })?;
    Ok(swap)
}
