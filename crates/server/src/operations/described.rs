//! The operations with the schemas of what they are asked and answer, for whoever writes descriptions from the types.

use oarlock_core::ids::SessionId;
use oarlock_core::service::SessionError;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Made, Row, table};
use crate::service::Sessions;

/// What an operation is asked and answers.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// The name of the operation.
    pub name: &'static str,
    /// The schema of what is asked; of the fields of the path it has all but the session.
    pub request: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of what is answered.
    pub response: fn(&mut SchemaGenerator) -> Schema,
}

impl Described {
    fn new<R: JsonSchema, A: JsonSchema>(row: Row) -> Self {
        let (request, response) =
            (SchemaGenerator::subschema_for::<R>, SchemaGenerator::subschema_for::<A>);
        Self { name: row.name, request, response }
    }
}

impl Made for Described {
    fn of_all<R, A, F>(row: Row, _: fn(Sessions, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static,
    {
        Self::new::<R, A>(row)
    }

    fn of_one<R, A, F>(row: Row, _: fn(Sessions, SessionId, R) -> F) -> Self
    where
        R: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema,
        F: Future<Output = Result<A, SessionError>> + Send + 'static,
    {
        Self::new::<R, A>(row)
    }
}

/// All operations, in the order of [`operations`](super::operations). What a program calls of this it carries, and it is large.
#[must_use]
pub fn described() -> Vec<Described> {
    table::table()
}
