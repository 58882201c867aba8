//! Settings that processes share, as dicts.

use crate::errors;
use crate::fork::ForkCell;
use logrotor::policy::{HistoryEntry, Policy, PolicyStore as Store};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use toml::{Table, Value};

#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct PolicyStore {
    settings: Settings,
    store: ForkCell<Mutex<Option<Store<Table>>>>,
}

struct Settings {
    path: PathBuf,
    validate: Option<Arc<Py<PyAny>>>,
    keep: Option<usize>,
    lock_timeout: Option<f64>,
    interval: Option<f64>,
    cache: Option<PathBuf>,
    mode: Option<u32>,
}

#[pymethods]
impl PolicyStore {
    #[new]
    #[pyo3(signature = (path, *, initial = None, validate = None, keep = None, lock_timeout = None, interval = None, cache = None, mode = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        initial: Option<&Bound<'_, PyAny>>,
        validate: Option<Py<PyAny>>,
        keep: Option<usize>,
        lock_timeout: Option<f64>,
        interval: Option<f64>,
        cache: Option<PathBuf>,
        mode: Option<u32>,
    ) -> PyResult<Self> {
        let initial = initial.map(table_of).transpose()?;
        let validate = validate.map(Arc::new);
        let settings = Settings { path, validate, keep, lock_timeout, interval, cache, mode };
        let store = settings.open(py, initial)?;
        Ok(Self { settings, store: ForkCell::new(Mutex::new(Some(store))) })
    }

    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.store(py)?.path().to_owned())
    }

    /// The number of the version in force.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.store(py)?.version())
    }

    /// A copy of the settings in force.
    fn current<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let current = self.store(py)?.current().into_arc();
        dict_of(py, &current)
    }

    /// The text of the version in force, and its metadata.
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let current = self.store(py)?.current().into_arc();
        let dict = metadata(py, current.metadata())?;
        dict.set_item("text", current.text())?;
        Ok(dict)
    }

    /// Looks for a newer version. Returns whether there is one.
    fn reload(&self, py: Python<'_>) -> PyResult<bool> {
        let store = self.store(py)?;
        py.detach(|| store.reload()).map_err(|error| errors::of(&error))
    }

    /// Has `change` alter a dict of the newest settings, which then are in force. Returns the
    /// version.
    #[pyo3(signature = (change, *, comment = None, if_version = None))]
    fn update(
        &self,
        py: Python<'_>,
        change: Py<PyAny>,
        comment: Option<&str>,
        if_version: Option<u64>,
    ) -> PyResult<u64> {
        let store = self.store(py)?;
        let updated = py.detach(|| {
            let mut update = store.begin_update();
            if let Some(comment) = comment {
                update = update.comment(comment);
            }
            if let Some(version) = if_version {
                update = update.if_version(version);
            }
            update.try_apply(|table| {
                Python::attach(|py| {
                    let dict = dict_of(py, table)?;
                    let returned = change.bind(py).call1((&dict,))?;
                    *table = table_of(if returned.is_none() { dict.as_any() } else { &returned })?;
                    Ok::<_, PyErr>(())
                })
            })
        });
        let policy: Arc<Policy<Table>> = updated.map_err(|error| errors::of(&error))??;
        Ok(policy.version())
    }

    /// Puts an older version in force again. Returns the number of the new one.
    fn rollback(&self, py: Python<'_>, version: u64) -> PyResult<u64> {
        let store = self.store(py)?;
        let policy = py.detach(|| store.rollback(version)).map_err(|error| errors::of(&error))?;
        Ok(policy.version())
    }

    /// The versions that are kept, oldest first.
    fn history<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let store = self.store(py)?;
        let entries = py.detach(|| store.history()).map_err(|error| errors::of(&error))?;
        entries.iter().map(|entry| history_entry(py, entry)).collect()
    }

    /// The settings that differ between two versions: name, value before, value after, as TOML.
    #[allow(clippy::type_complexity, reason = "it is a list of tuples")]
    fn diff(
        &self,
        py: Python<'_>,
        before: u64,
        after: u64,
    ) -> PyResult<Vec<(String, Option<String>, Option<String>)>> {
        let store = self.store(py)?;
        let differences =
            py.detach(|| store.diff(before, after)).map_err(|error| errors::of(&error))?;
        let fields = differences.into_iter().map(|one| (one.setting, one.before, one.after));
        Ok(fields.collect())
    }

    /// The problem with the stored settings, if the version in force is an older one.
    fn problem(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.store(py)?.problem().map(|error| error.to_string()))
    }
}

impl PolicyStore {
    /// The store of this process. A child of a fork opens its own.
    fn store(&self, py: Python<'_>) -> PyResult<Store<Table>> {
        let place = self.store.get_or(Mutex::default);
        let present = || place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*present() {
            return Ok(store.clone());
        }
        let opened = self.settings.open(py, None)?;
        Ok(present().get_or_insert(opened).clone())
    }
}

impl Settings {
    fn open(&self, py: Python<'_>, initial: Option<Table>) -> PyResult<Store<Table>> {
        let validate = self.validate.clone();
        let mut builder = Store::builder(move |table: &Table| match &validate {
            Some(function) => judge(function, table),
            None => Ok(()),
        });
        if let Some(versions) = self.keep {
            builder = builder.keep(versions);
        }
        if let Some(timeout) = self.lock_timeout {
            builder = builder.lock_timeout(span("lock_timeout", timeout)?);
        }
        if let Some(interval) = self.interval {
            builder = builder.interval(span("interval", interval)?);
        }
        if let Some(cache) = &self.cache {
            builder = builder.cache(cache);
        }
        if let Some(mode) = self.mode {
            builder = builder.mode(mode);
        }
        let opened = py.detach(|| match initial {
            Some(initial) => builder.open_or_create(&self.path, || initial),
            None => builder.open(&self.path),
        });
        opened.map_err(|error| errors::of(&error))
    }
}

/// Asks the validator, which raises an exception if the settings cannot be in force.
fn judge(function: &Py<PyAny>, table: &Table) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let judged = Python::try_attach(|py| -> PyResult<()> {
        function.bind(py).call1((dict_of(py, table)?,))?;
        Ok(())
    });
    match judged {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(Python::attach(|py| error.value(py).to_string()).into()),
        None => Err("the interpreter is ending".into()),
    }
}

fn span(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

fn history_entry<'py>(py: Python<'py>, entry: &HistoryEntry) -> PyResult<Bound<'py, PyDict>> {
    let dict = match &entry.metadata {
        Ok(known) => metadata(py, known)?,
        Err(error) => {
            let dict = PyDict::new(py);
            dict.set_item("version", entry.version)?;
            dict.set_item("problem", error.to_string())?;
            dict
        }
    };
    dict.set_item("path", &entry.path)?;
    Ok(dict)
}

fn metadata<'py>(
    py: Python<'py>,
    metadata: &logrotor::policy::Metadata,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let written = metadata.written().duration_since(UNIX_EPOCH).unwrap_or_default();
    dict.set_item("version", metadata.version())?;
    dict.set_item("author", metadata.author().to_string())?;
    dict.set_item("comment", metadata.comment())?;
    dict.set_item("origin", metadata.origin().to_string())?;
    dict.set_item("written", written.as_secs_f64())?;
    Ok(dict)
}

fn dict_of<'py>(py: Python<'py>, table: &Table) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in table {
        dict.set_item(key, object_of(py, value)?)?;
    }
    Ok(dict)
}

fn object_of<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Integer(number) => number.into_pyobject(py)?.into_any(),
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Boolean(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        // As the text of TOML, which Python's own types of times do not all hold.
        Value::Datetime(time) => PyString::new(py, &time.to_string()).into_any(),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(object_of(py, value)?)?;
            }
            list.into_any()
        }
        Value::Table(table) => dict_of(py, table)?.into_any(),
    })
}

fn table_of(settings: &Bound<'_, PyAny>) -> PyResult<Table> {
    let dict = settings.cast::<PyDict>().map_err(|_| {
        PyTypeError::new_err(format!("settings are a dict, not {}", kind_of(settings)))
    })?;
    let mut table = Table::new();
    for (key, value) in dict {
        let key: String = key
            .extract()
            .map_err(|_| PyTypeError::new_err(format!("a setting's name is a str, not {key}")))?;
        let value = value_of(&key, &value)?;
        table.insert(key, value);
    }
    Ok(table)
}

fn value_of(key: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    // A bool is an int as well.
    if value.is_instance_of::<PyBool>() {
        return Ok(Value::Boolean(value.extract()?));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(Value::Integer(value.extract()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Value::Float(value.extract()?));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Value::String(value.extract()?));
    }
    if value.is_instance_of::<PyDict>() {
        return Ok(Value::Table(table_of(value)?));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let values = value.try_iter()?.map(|item| value_of(key, &item?));
        return Ok(Value::Array(values.collect::<PyResult<_>>()?));
    }
    Err(PyTypeError::new_err(format!(
        "`{key}` is {}: use str, int, float, bool, list or dict; leave out what is None",
        kind_of(value)
    )))
}

fn kind_of(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
