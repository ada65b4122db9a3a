"""FastAPI with Pydantic 1, which has a pure Python version."""

from fastapi import FastAPI, Query, UploadFile
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float = 1.0


@app.get("/")
async def hello():
    return "Hello from /fastapi1/"


@app.post("/items")
def create(item: Item, number: int = Query(3, ge=1)):
    return {"item": item, "number": number}


@app.post("/upload")
async def upload(file: UploadFile):
    return f"{file.filename} {len(await file.read())}"
