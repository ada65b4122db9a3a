//! Checks whether a component follows the contract exactly: its imports from the gateway, and its
//! application, must have the types in `wit/gateway.wit`. Direct calls support no other types.

use std::collections::HashMap;

use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentEntityType, ComponentFuncType,
    ComponentInstanceType, ComponentValType, ResourceId,
};
use wasmparser::types::{Types, TypesRef};

use super::unsupported::{Result, Unsupported, unsupported, unsupported_at};
use crate::abi::{Export, HostFunction};

/// The interface that an application imports.
pub const GATEWAY: &str = "wasgi:gateway/gateway@0.1.0";

/// The interface that an application exports.
pub const APPLICATION: &str = "wasgi:gateway/application@0.1.0";

/// A resource of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Environ,
    StartResponse,
    Blocks,
}

/// The resources of a component, by the validator's ids.
pub(super) struct Resources<'t> {
    types: TypesRef<'t>,
    by_id: HashMap<ResourceId, Resource>,
}

/// A type of the contract.
enum Type {
    U8,
    U64,
    String,
    List(&'static Type),
    Tuple(&'static [Type]),
    Record(&'static [(&'static str, Type)]),
    Variant(&'static [(&'static str, Option<Type>)]),
    Enum(&'static [&'static str]),
    Option(&'static Type),
    Result(Option<&'static Type>, &'static Type),
    Own(Resource),
    Borrow(Resource),
}

/// A function of the contract: its name, parameters and result.
struct Function(&'static str, &'static [Type], Option<Type>);

const BYTES: Type = Type::List(&Type::U8);

/// A variable of the environ, or a field of a head.
const PAIR: Type = Type::Tuple(&[Type::String, BYTES]);

const EXCEPTION: Type = Type::Record(&[
    ("kind", Type::String),
    ("message", Type::String),
    ("traceback", Type::String),
]);

const INPUT_ERROR: Type = Type::Enum(&["disconnected", "timed-out", "too-large", "malformed"]);

const START_ERROR: Type = Type::Variant(&[
    ("already-started", None),
    ("head-sent", None),
    ("refused", Some(Type::String)),
]);

const WRITE_ERROR: Type = Type::Enum(&["not-started", "disconnected"]);

const BODY: Type = Type::Variant(&[
    ("block", Some(BYTES)),
    ("blocks", Some(Type::Own(Resource::Blocks))),
]);

const ENVIRON: Type = Type::Borrow(Resource::Environ);

const START_RESPONSE: Type = Type::Borrow(Resource::StartResponse);

const BLOCKS: Type = Type::Borrow(Resource::Blocks);

/// The functions that an application may import.
const IMPORTS: [Function; 7] = [
    Function(
        HostFunction::Get.name(),
        &[ENVIRON, Type::String],
        Some(Type::Option(&BYTES)),
    ),
    Function(
        HostFunction::Variables.name(),
        &[ENVIRON],
        Some(Type::List(&PAIR)),
    ),
    Function(
        HostFunction::Read.name(),
        &[ENVIRON, Type::U64],
        Some(Type::Result(Some(&BYTES), &INPUT_ERROR)),
    ),
    Function(HostFunction::WriteErrors.name(), &[ENVIRON, BYTES], None),
    Function(
        HostFunction::StartResponse.name(),
        &[
            START_RESPONSE,
            BYTES,
            Type::List(&PAIR),
            Type::Option(&EXCEPTION),
        ],
        Some(Type::Result(None, &START_ERROR)),
    ),
    Function(
        HostFunction::Write.name(),
        &[START_RESPONSE, BYTES],
        Some(Type::Result(None, &WRITE_ERROR)),
    ),
    Function(HostFunction::Panicked.name(), &[EXCEPTION], None),
];

/// The functions that an application must export.
const EXPORTS: [Function; 3] = [
    Function(
        Export::Call.name(),
        &[
            Type::Own(Resource::Environ),
            Type::Own(Resource::StartResponse),
        ],
        Some(Type::Result(Some(&BODY), &EXCEPTION)),
    ),
    Function(
        Export::Next.name(),
        &[BLOCKS],
        Some(Type::Result(Some(&Type::Option(&BYTES)), &EXCEPTION)),
    ),
    Function(
        Export::Close.name(),
        &[BLOCKS],
        Some(Type::Result(None, &EXCEPTION)),
    ),
];

impl<'t> Resources<'t> {
    /// Checks the types of a component.
    pub(super) fn from_types(types: &'t Types) -> Result<Self> {
        let types = types.as_ref();
        let mut resources = Self {
            types,
            by_id: HashMap::new(),
        };
        let gateway = types.component_item_for_import(GATEWAY);
        let application = types.component_item_for_export(APPLICATION);
        let (Some(gateway), Some(application)) = (gateway, application) else {
            let missing = if gateway.is_none() {
                GATEWAY
            } else {
                APPLICATION
            };
            return unsupported_at("the component lacks an interface of the contract", missing);
        };
        let gateway = resources.instance(&gateway.ty)?;
        let application = resources.instance(&application.ty)?;
        resources.take(gateway, "environ", Resource::Environ)?;
        resources.take(gateway, "start-response", Resource::StartResponse)?;
        resources.take(application, "blocks", Resource::Blocks)?;
        for (name, item) in &gateway.exports {
            if let ComponentEntityType::Func(ty) = &item.ty {
                let function = IMPORTS.iter().find(|function| function.0 == name);
                resources.check(name, function, &types[*ty])?;
            }
        }
        for function in &EXPORTS {
            let Some(ComponentEntityType::Func(ty)) =
                application.exports.get(function.0).map(|item| &item.ty)
            else {
                return unsupported_at("the application lacks a function", function.0);
            };
            resources.check(function.0, Some(function), &types[*ty])?;
        }
        Ok(resources)
    }

    /// Returns the resource for a type of the component.
    pub(super) fn resource(&self, ty: u32) -> Result<Resource> {
        if let ComponentAnyTypeId::Resource(id) = self.types.component_any_type_at(ty)
            && let Some(resource) = self.by_id.get(&id.resource())
        {
            return Ok(*resource);
        }
        unsupported("the component defines an additional resource")
    }

    fn instance(&self, ty: &ComponentEntityType) -> Result<&'t ComponentInstanceType> {
        match ty {
            ComponentEntityType::Instance(id) => Ok(self
                .types
                .get(*id)
                .ok_or(Unsupported::new("an interface has no type"))?),
            _ => unsupported("an interface is not an instance"),
        }
    }

    fn take(
        &mut self,
        instance: &ComponentInstanceType,
        name: &str,
        resource: Resource,
    ) -> Result<()> {
        let Some(ComponentEntityType::Type {
            created: ComponentAnyTypeId::Resource(id),
            ..
        }) = instance.exports.get(name).map(|item| &item.ty)
        else {
            return unsupported_at("a resource of the contract is missing", name);
        };
        match self.by_id.insert(id.resource(), resource) {
            None => Ok(()),
            Some(_) => unsupported_at("two resources have the same type", name),
        }
    }

    fn check(&self, name: &str, function: Option<&Function>, ty: &ComponentFuncType) -> Result<()> {
        let fits = function.is_some_and(|Function(_, params, result)| {
            let given = ty.params.iter().map(|(_, ty)| ty);
            !ty.async_
                && params.len() == given.len()
                && params
                    .iter()
                    .zip(given)
                    .all(|(ty, given)| self.fits(ty, given))
                && self.fits_option(result.as_ref(), ty.result.as_ref())
        });
        match fits {
            true => Ok(()),
            false => unsupported_at("a function's type differs from the contract's", name),
        }
    }

    fn fits_option(&self, ty: Option<&Type>, given: Option<&ComponentValType>) -> bool {
        match (ty, given) {
            (None, None) => true,
            (Some(ty), Some(given)) => self.fits(ty, given),
            _ => false,
        }
    }

    /// Returns whether a type equals this one. Recurses no deeper than the types of the contract.
    fn fits(&self, ty: &Type, given: &ComponentValType) -> bool {
        use ComponentDefinedType as Given;
        let given = match given {
            ComponentValType::Primitive(given) => return ty.is(*given),
            ComponentValType::Type(id) => &self.types[*id],
        };
        match (ty, given) {
            (ty, Given::Primitive(given)) => ty.is(*given),
            (Type::List(ty), Given::List { element, .. }) => self.fits(ty, element),
            (Type::Option(ty), Given::Option { ty: given, .. }) => self.fits(ty, given),
            (Type::Tuple(types), Given::Tuple(given)) => {
                types.len() == given.types.len()
                    && types
                        .iter()
                        .zip(&given.types)
                        .all(|(ty, given)| self.fits(ty, given))
            }
            (Type::Record(fields), Given::Record(given)) => {
                fields.len() == given.fields.len()
                    && fields
                        .iter()
                        .zip(&given.fields)
                        .all(|((name, ty), (given_name, given))| {
                            *name == given_name.as_str() && self.fits(ty, given)
                        })
            }
            (Type::Variant(cases), Given::Variant(given)) => {
                cases.len() == given.cases.len()
                    && cases
                        .iter()
                        .zip(&given.cases)
                        .all(|((name, ty), (given_name, given))| {
                            *name == given_name.as_str()
                                && self.fits_option(ty.as_ref(), given.ty.as_ref())
                        })
            }
            (Type::Enum(cases), Given::Enum(given)) => {
                cases.len() == given.len()
                    && cases
                        .iter()
                        .zip(given)
                        .all(|(name, given)| *name == given.as_str())
            }
            (Type::Result(ok, error), Given::Result { ok: given, err, .. }) => {
                self.fits_option(*ok, given.as_ref()) && self.fits_option(Some(error), err.as_ref())
            }
            (Type::Own(resource), Given::Own(id)) | (Type::Borrow(resource), Given::Borrow(id)) => {
                self.by_id.get(&id.resource()) == Some(resource)
            }
            _ => false,
        }
    }
}

impl Type {
    fn is(&self, given: PrimitiveValType) -> bool {
        matches!(
            (self, given),
            (Self::U8, PrimitiveValType::U8)
                | (Self::U64, PrimitiveValType::U64)
                | (Self::String, PrimitiveValType::String)
        )
    }
}
