//! Which session has which name: decided with the append that takes or gives it back, by an index that has a name of a tenant once.

use oarlock_core::ids::{SessionId, Tenant};
use oarlock_core::ports::journal::{Frame, JournalError, Name, Naming};
use rusqlite::{Connection, ErrorCode, params};

use super::failure::Trouble;

/// What stands for sessions of nobody: no tenant is called so.
const NOBODY: &str = "";

/// The tenant of a name, as its column has it.
pub(super) fn within(tenant: Option<&Tenant>) -> &str {
    tenant.map_or(NOBODY, Tenant::as_str)
}

/// Does to the name of the session in row `no` what `frame` says.
pub(super) fn apply(
    connection: &Connection,
    (no, session): (i64, &SessionId),
    frame: &Frame,
) -> Result<(), Trouble> {
    match frame.naming(session)? {
        None => Ok(()),
        Some(Naming::Ends) => {
            let sql = "UPDATE session SET has_name = 0 WHERE no = ?1";
            connection.prepare_cached(sql)?.execute([no])?;
            Ok(())
        }
        Some(Naming::Begins(Name { tenant, name })) => {
            let sql = "UPDATE session SET name_tenant = ?2, name = ?3, has_name = 1 WHERE no = ?1";
            let row = params![no, within(tenant.as_ref()), name];
            taken(connection.prepare_cached(sql)?.execute(row), session, || Ok(name.clone()))
        }
        Some(Naming::BeginsAgain) => {
            let sql = "UPDATE session SET has_name = 1 WHERE no = ?1 AND name IS NOT NULL";
            taken(connection.prepare_cached(sql)?.execute([no]), session, || {
                let sql = "SELECT name FROM session WHERE no = ?1";
                Ok(connection.prepare_cached(sql)?.query_row([no], |row| row.get(0))?)
            })
        }
    }
}

/// What the index says of it.
fn taken(
    done: rusqlite::Result<usize>,
    session: &SessionId,
    name: impl FnOnce() -> Result<String, Trouble>,
) -> Result<(), Trouble> {
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            let (session, name) = (session.clone(), name()?);
            Err(JournalError::NameTaken { session, name }.into())
        }
        Err(error) => Err(error.into()),
    }
}
