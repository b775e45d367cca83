import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """A second thread costs more than it gives with models this small, the more so on a busy machine."""
    torch.set_num_threads(1)
